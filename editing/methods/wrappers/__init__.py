"""Wrappers: the edit of any method that changes weights, with something done to its change."""
