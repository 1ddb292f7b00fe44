"""Cases made of our own world."""
