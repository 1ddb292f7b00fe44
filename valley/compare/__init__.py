"""Two runs, case by case."""

from valley.compare.differences import commits, differences
from valley.compare.figure import write_overlay
from valley.compare.pairs import compare, format_comparison

__all__ = [
    "commits",
    "compare",
    "differences",
    "format_comparison",
    "write_overlay",
]
