"""The report's charts: tables in, Altair charts out."""
