"""What a model answers before and after an edit, as records of the rows table."""

from benchmarks.measure.answers import (
    PRIOR_WEIGHT,
    Answer,
    Base,
    measure,
    measure_base,
    measure_drift,
    own_wordings,
    picked,
)
from benchmarks.measure.fitting import Fitting, fit
from benchmarks.measure.harness import harness_scores, refuse_without_harness
from benchmarks.measure.judge import format_judged, judge_run
from benchmarks.measure.known_facts import half_agreement, known_rates
from benchmarks.measure.known_hash import known_hash, remember_hash
from benchmarks.measure.opening import open_model, planned, statistics_of
from benchmarks.measure.records import DRIFT_TAU, NOT_EDITED, left_out_row, probe_rows
from benchmarks.measure.stored_base import stored_base, stored_table
from benchmarks.measure.strength import STRENGTHS, drift_texts, strength, strengths, text_bits_per_byte

__all__ = [
    "DRIFT_TAU",
    "NOT_EDITED",
    "PRIOR_WEIGHT",
    "STRENGTHS",
    "Answer",
    "Base",
    "Fitting",
    "drift_texts",
    "fit",
    "format_judged",
    "half_agreement",
    "harness_scores",
    "judge_run",
    "known_hash",
    "known_rates",
    "left_out_row",
    "measure",
    "measure_base",
    "measure_drift",
    "open_model",
    "own_wordings",
    "picked",
    "planned",
    "probe_rows",
    "refuse_without_harness",
    "remember_hash",
    "statistics_of",
    "stored_base",
    "stored_table",
    "strength",
    "strengths",
    "text_bits_per_byte",
]
