"""Tables and words for a terminal, values for a page."""

from valley.text.curve import blocks, clean, format_gates, format_table, number, rung_cell, short, unlike_kinds, where
from valley.text.published import format_scores
from valley.text.script import embed
from valley.text.summary import format_brief, format_summary

__all__ = [
    "blocks",
    "clean",
    "embed",
    "format_brief",
    "format_gates",
    "format_scores",
    "format_summary",
    "format_table",
    "number",
    "rung_cell",
    "short",
    "unlike_kinds",
    "where",
]
