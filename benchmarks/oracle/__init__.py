"""The retrain oracle: an edited model beside a model that was trained on the edited world."""

from benchmarks.oracle.compare import FILE, SCOPES, RungComparison, compare_run
from benchmarks.oracle.distance import jensen_shannon, probabilities
from benchmarks.oracle.score import Distances, score, scores_of_case
from benchmarks.oracle.summary import format_oracle, summary

__all__ = [
    "FILE",
    "SCOPES",
    "Distances",
    "RungComparison",
    "compare_run",
    "format_oracle",
    "jensen_shannon",
    "probabilities",
    "score",
    "scores_of_case",
    "summary",
]
