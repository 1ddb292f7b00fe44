"""Shapes of a curve over model strength: families, their likelihood, prominence, between-seed variance and the verdict."""
