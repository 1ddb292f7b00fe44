"""Proof of the instrument: scores against a truth that was planted, and against models that were retrained."""

from valley.proof.against_oracle import (
    GOOD,
    VIEWS,
    Choice,
    choose_composite,
    correlations,
    edits_with_composites,
    format_choice,
)
from valley.proof.trend import Trend, format_trends, trend, trend_table

__all__ = [
    "GOOD",
    "VIEWS",
    "Choice",
    "Trend",
    "choose_composite",
    "correlations",
    "edits_with_composites",
    "format_choice",
    "format_trends",
    "trend",
    "trend_table",
]
