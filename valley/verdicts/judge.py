"""All tests of one curve: prominence, trend, weights, two lines, the bound on a valley and the smallest valley it could
show."""

from __future__ import annotations

from typing import Any

import numpy as np

from valley.scores import AnalysisPlan
from valley.statistics import (
    FAMILIES,
    FLOOR,
    SHAPES,
    Points,
    compare,
    noise,
    prominence_test,
    trend_test,
    two_lines,
    upper_bound,
)
from valley.verdicts.power import detectable_depth

NAMED = tuple(family.name for family in FAMILIES if family.name != "constant")  # shapes a verdict may name
COLUMNS: tuple[str, ...] = (
    "n_sizes", "n_models", "tau2", "df", "best",
    *(f"D_{s}" for s in SHAPES), *(f"p_{s}" for s in NAMED), *(f"weight_{f.name}" for f in FAMILIES),
    *(f"left_out_{f.name}" for f in FAMILIES), "p_two_lines", "bound", "detectable",
)  # fmt: skip


def judge(
    points: Points, plan: AnalysisPlan, *, detectable: float | None = None, sensitivity: bool = True
) -> dict[str, Any]:
    """COLUMNS of one curve.

    p of valley, hump and four-phase are of prominence against the best monotone curve; p of exponential is of a
    falling, of logistic of any monotone trend against a constant. Weights are BIC's; NaN where rungs are too few.
    `bound` is the upper bound of a valley's depth, `detectable` the smallest depth found 80% of the time with these
    variances. Where tau^2 is unknown the tests use se^2 alone: they are then shown for information and carry no
    verdict, there is no bound, and `detectable` is itself a lower limit.

    Args:
        detectable: taken as given where it is known from a curve with the same variances, or not wanted (NaN): the
            simulation behind it costs most of the time.
    """
    n, variance = len(points.x), np.maximum(points.variance, FLOOR)
    line: dict[str, Any] = dict.fromkeys(COLUMNS, np.nan)
    line |= {"n_sizes": n, "n_models": int(points.seeds.sum()), "tau2": points.between.tau2, "df": points.between.df}
    line["best"] = ""
    if n < 3:
        return line
    errors = noise(n, plan.draws, [plan.seed, n], points.df)
    for shape in SHAPES:
        found, p = prominence_test(points.y, variance, errors, shape)
        if np.isfinite(found):
            line |= {f"D_{shape}": float(found), f"p_{shape}": float(p)}
    line["p_exponential"] = float(trend_test(points.y, variance, errors, -1))
    line["p_logistic"] = float(trend_test(points.y, variance, errors))
    table = compare(points.x, points.y, variance).set_index("family")
    for family in table.index:
        line |= {
            f"weight_{family}": table.loc[family, "weight_bic"],
            f"left_out_{family}": table.loc[family, "left_out"],
        }
    if table["weight_bic"].notna().all():
        line["best"] = str(table["weight_bic"].idxmax())
    line["p_two_lines"] = two_lines(points.x, points.y, variance)
    if points.between.known:
        line["bound"] = upper_bound(points.y, variance, errors, plan.level)
    line["detectable"] = (
        detectable_depth(variance, points.df, plan.level, seed=plan.seed) if detectable is None else detectable
    )
    return line
