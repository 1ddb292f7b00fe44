"""Methods that change rows of the vocabulary: what a token is read as, or when it is said."""
