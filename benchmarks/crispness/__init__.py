"""Crispness: how far one concept with two names is one thing inside a model, per layer, without an edit."""

from benchmarks.crispness.measure import Setup
from benchmarks.crispness.run import format_crispness, run_crispness

__all__ = [
    "Setup",
    "format_crispness",
    "run_crispness",
]
