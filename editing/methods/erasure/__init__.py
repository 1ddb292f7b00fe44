"""Methods that erase what sets a subject apart from its kind."""
