"""Methods that follow a gradient on the weights."""
