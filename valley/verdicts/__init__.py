"""Tests of a curve and the verdict that follows from them."""
