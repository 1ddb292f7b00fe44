"""Tests of a curve and the verdict that follows from them."""

from valley.verdicts.judge import NAMED, judge, p_values, weights_of
from valley.verdicts.multiverse import SHARE, Multiverse, combine
from valley.verdicts.power import Rate, format_power, power
from valley.verdicts.shape import Shapes, format_shapes, judged, shapes
from valley.verdicts.specification import UNMEASURED, Specifications, format_specifications, what_decides
from valley.verdicts.strata import format_sensitivity, format_strata, sensitivity, strata
from valley.verdicts.verdict import BEST, CONCORDANT, INCONCLUSIVE, NO_VALLEY, Verdict, verdict

__all__ = [
    "BEST",
    "CONCORDANT",
    "INCONCLUSIVE",
    "NAMED",
    "NO_VALLEY",
    "SHARE",
    "UNMEASURED",
    "Multiverse",
    "Rate",
    "Shapes",
    "Specifications",
    "Verdict",
    "combine",
    "format_power",
    "format_sensitivity",
    "format_shapes",
    "format_specifications",
    "format_strata",
    "judge",
    "judged",
    "p_values",
    "power",
    "sensitivity",
    "shapes",
    "strata",
    "verdict",
    "weights_of",
    "what_decides",
]
