"""One concept behaves as another, live: every relation before and after, its siblings, drift."""
