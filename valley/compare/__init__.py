"""Two runs, case by case; languages, pair by pair; a run and the same run again."""

from valley.compare.differences import commits, differences
from valley.compare.figure import write_overlay
from valley.compare.pairs import compare, difference_interval, format_comparison
from valley.compare.repeat import Repeat, format_repeat, repeat
from valley.compare.transfer import NEEDED as TRANSFER_COLUMNS
from valley.compare.transfer import format_transfer, transfer_table

__all__ = [
    "TRANSFER_COLUMNS",
    "Repeat",
    "commits",
    "compare",
    "difference_interval",
    "differences",
    "format_comparison",
    "format_repeat",
    "format_transfer",
    "repeat",
    "transfer_table",
    "write_overlay",
]
