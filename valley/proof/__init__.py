"""Proof of the instrument: scores against a truth that was planted, and against models that were retrained."""

from valley.proof.against_oracle import (
    GOOD,
    VIEWS,
    Choice,
    choose_composite,
    correlations,
    edits_with_composites,
    format_choice,
    winner_sentence,
)
from valley.proof.dose import SCORES, across_languages, dose_table, planted_scores, reading_dose_table
from valley.proof.trend import LEVEL, Trend, format_trends, trend, trend_table

__all__ = [
    "GOOD",
    "LEVEL",
    "SCORES",
    "VIEWS",
    "Choice",
    "Trend",
    "across_languages",
    "choose_composite",
    "correlations",
    "dose_table",
    "edits_with_composites",
    "format_choice",
    "format_trends",
    "planted_scores",
    "reading_dose_table",
    "trend",
    "trend_table",
    "winner_sentence",
]
