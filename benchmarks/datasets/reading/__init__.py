"""How files of other people are read: sources, records, fields, drafts of cases."""
