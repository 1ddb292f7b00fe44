"""One loaded language model: its weights, where it can be edited, and how much memory it takes."""
