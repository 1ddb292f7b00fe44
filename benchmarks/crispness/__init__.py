"""Crispness: how far one concept with two names is one thing inside a model, per layer, without an edit."""

from benchmarks.crispness.measure import MEASURES, Setup, crispness
from benchmarks.crispness.pairs import concept_names
from benchmarks.crispness.run import format_crispness, run_crispness

__all__ = [
    "MEASURES",
    "Setup",
    "concept_names",
    "crispness",
    "format_crispness",
    "run_crispness",
]
