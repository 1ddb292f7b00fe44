"""What can be done with run folders and the files of their cells: merged, compacted."""
