"""Composites: one number out of what an edit changes and what it keeps. Every module here adds its own (COMPOSITES)."""

from valley.scores.composites.composite import (
    CASE_COLUMNS,
    Composite,
    Means,
    failed_gates,
    fails_gates,
)
from valley.scores.composites.registry import FORMER, PRIMARY, by_name, chooser, composites, ruler
from valley.scores.composites.sensitivity import defensible, falls_with_collateral, insensitive_to

__all__ = [
    "CASE_COLUMNS",
    "FORMER",
    "PRIMARY",
    "Composite",
    "Means",
    "by_name",
    "chooser",
    "composites",
    "defensible",
    "failed_gates",
    "fails_gates",
    "falls_with_collateral",
    "insensitive_to",
    "ruler",
]
