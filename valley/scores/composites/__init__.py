"""Composites: one number out of what an edit changes and what it keeps. Every module here adds its own (COMPOSITES)."""

from valley.scores.composites.composite import CASE_COLUMNS, GATES, Composite, Means, failed_gates
from valley.scores.composites.registry import PRIMARY, by_name, composites
from valley.scores.composites.sensitivity import defensible, falls_with_collateral, insensitive_to

__all__ = [
    "CASE_COLUMNS",
    "GATES",
    "PRIMARY",
    "Composite",
    "Means",
    "by_name",
    "composites",
    "defensible",
    "failed_gates",
    "falls_with_collateral",
    "insensitive_to",
]
