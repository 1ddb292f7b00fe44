"""Error rates of the tests, by simulation."""
