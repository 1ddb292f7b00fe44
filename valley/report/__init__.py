"""The report page, its charts and its files."""
