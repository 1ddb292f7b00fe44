"""Pure numpy and scipy: bootstrap, variance between seeds, prominence, families of curves."""

from valley.statistics.bootstrap import crossed_weights, draw_weights, interval, redraw, weighted_means
from valley.statistics.families import FAMILIES
from valley.statistics.likelihood import compare
from valley.statistics.prominence import FLOOR, SHAPES, noise, prominence, prominence_test, trend_test, upper_bound
from valley.statistics.two_lines import two_lines
from valley.statistics.variance import Points, SeedVariance, points, size_of

__all__ = [
    "FAMILIES",
    "FLOOR",
    "SHAPES",
    "Points",
    "SeedVariance",
    "compare",
    "crossed_weights",
    "draw_weights",
    "interval",
    "noise",
    "points",
    "prominence",
    "prominence_test",
    "redraw",
    "size_of",
    "trend_test",
    "two_lines",
    "upper_bound",
    "weighted_means",
]
