"""Hypotheses about retargeting, one module each, judged with effect, interval and Holm's correction."""

from valley.hypotheses._evidence import Evidence
from valley.hypotheses.judge import INCONCLUSIVE, REFUTED, SUPPORTED, Result, format_results, hypotheses, judge

__all__ = [
    "INCONCLUSIVE",
    "REFUTED",
    "SUPPORTED",
    "Evidence",
    "Result",
    "format_results",
    "hypotheses",
    "judge",
]
