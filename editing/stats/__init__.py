"""What a method needs to know of a model: context prefixes and key covariances, kept on disk."""
