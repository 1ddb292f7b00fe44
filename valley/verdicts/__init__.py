"""Tests of a curve and the verdict that follows from them."""

from valley.verdicts.judge import NAMED, judge
from valley.verdicts.multiverse import SHARE, Multiverse, combine
from valley.verdicts.power import Rate, format_power, power
from valley.verdicts.shape import Shapes, format_shapes, shapes
from valley.verdicts.strata import format_sensitivity, format_strata, sensitivity, strata
from valley.verdicts.verdict import INCONCLUSIVE, NO_VALLEY, verdict

__all__ = [
    "INCONCLUSIVE",
    "NAMED",
    "NO_VALLEY",
    "SHARE",
    "Multiverse",
    "Rate",
    "Shapes",
    "combine",
    "format_power",
    "format_sensitivity",
    "format_shapes",
    "format_strata",
    "judge",
    "power",
    "sensitivity",
    "shapes",
    "strata",
    "verdict",
]
