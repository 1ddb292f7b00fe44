"""Pure numpy and scipy: bootstrap, variance between seeds, prominence, families of curves."""
