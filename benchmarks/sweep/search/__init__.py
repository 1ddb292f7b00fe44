"""Which settings are measured on which cases, in which order: a grid, or races by successive halving."""
