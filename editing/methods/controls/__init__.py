"""Controls: edits that should not work, to compare the others with."""
