"""Tests of `valley where`."""
