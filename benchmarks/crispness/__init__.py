"""Crispness: how far one concept with two names is one thing inside a model, per layer, without an edit."""

from benchmarks.crispness.measure import Setup, crispness
from benchmarks.crispness.run import format_crispness, run_crispness

__all__ = [
    "Setup",
    "crispness",
    "format_crispness",
    "run_crispness",
]
