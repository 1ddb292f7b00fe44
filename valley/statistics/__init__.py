"""Pure numpy and scipy: bootstrap, variance between seeds, prominence, families of curves."""

from valley.statistics.bootstrap import (
    bounds,
    draw_weights,
    harmonic,
    mean_interval,
    n_units,
    redraw,
    scarcest,
    t_interval,
    unit_weights,
    weighted_means,
    within_range,
)
from valley.statistics.families import FAMILIES
from valley.statistics.holm import holm
from valley.statistics.hypervolume import hypervolume
from valley.statistics.likelihood import bic_weights, compare
from valley.statistics.prominence import (
    FLOOR,
    SHAPES,
    Errors,
    noise,
    prominence,
    prominence_test,
    trend_test,
    upper_bound,
)
from valley.statistics.regret import selection_regret
from valley.statistics.two_lines import two_lines
from valley.statistics.variance import Points, SeedVariance, drawn_errors, points, size_of, size_variance

__all__ = [
    "FAMILIES",
    "FLOOR",
    "SHAPES",
    "Errors",
    "Points",
    "SeedVariance",
    "bic_weights",
    "bounds",
    "compare",
    "draw_weights",
    "drawn_errors",
    "harmonic",
    "holm",
    "hypervolume",
    "mean_interval",
    "n_units",
    "noise",
    "points",
    "prominence",
    "prominence_test",
    "redraw",
    "scarcest",
    "selection_regret",
    "size_of",
    "size_variance",
    "t_interval",
    "trend_test",
    "two_lines",
    "unit_weights",
    "upper_bound",
    "weighted_means",
    "within_range",
]
