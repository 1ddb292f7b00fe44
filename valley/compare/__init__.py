"""Two runs, case by case; languages, pair by pair."""

from valley.compare.differences import commits, differences
from valley.compare.figure import write_overlay
from valley.compare.pairs import compare, difference_interval, format_comparison
from valley.compare.transfer import NEEDED as TRANSFER_COLUMNS
from valley.compare.transfer import format_transfer, transfer_table

__all__ = [
    "TRANSFER_COLUMNS",
    "commits",
    "compare",
    "difference_interval",
    "differences",
    "format_comparison",
    "format_transfer",
    "transfer_table",
    "write_overlay",
]
