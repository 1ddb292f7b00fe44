"""The one table: its schema, its kinds, reading and packing runs."""
