"""What a model answers before and after an edit, as records of the rows table."""
