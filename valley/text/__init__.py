"""Tables and words for a terminal."""

from valley.text.curve import clean, format_table, number, short, unlike_kinds, where
from valley.text.published import format_scores

__all__ = [
    "clean",
    "format_scores",
    "format_table",
    "number",
    "short",
    "unlike_kinds",
    "where",
]
