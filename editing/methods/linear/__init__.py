"""Methods that invert a linear approximation of the model."""
