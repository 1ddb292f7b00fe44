"""Tables and words for a terminal."""
