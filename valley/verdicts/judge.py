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
    Errors,
    Points,
    bic_weights,
    compare,
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


def p_values(
    y: np.ndarray, variance: np.ndarray, known: np.ndarray, errors: Errors
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By shape the prominences D and by NAMED the p-values of curves (..., n).

    p of valley, hump and four-phase are of prominence against the best monotone curve; p of exponential is of a
    falling, of logistic of any monotone trend against a constant.
    """
    depths, p = {}, {}
    for shape in SHAPES:
        depth, chance = prominence_test(y, variance, errors, shape, known)
        depths[shape] = np.where(np.isfinite(depth), depth, np.nan)
        p[shape] = np.where(np.isfinite(depth), chance, np.nan)
    p["exponential"] = trend_test(y, variance, errors, -1, known)
    p["logistic"] = trend_test(y, variance, errors, 0, known)
    return depths, p


def weights_of(x: np.ndarray, y: np.ndarray, variance: np.ndarray) -> dict[str, np.ndarray]:
    """By family the BIC weights of curves (curves, n) at strengths x (n,); NaN where rungs are too few."""
    return dict(zip((family.name for family in FAMILIES), bic_weights(x, y, variance).T, strict=True))


def judge(points: Points, plan: AnalysisPlan, *, detectable: float | None = None, whole: bool = True) -> dict[str, Any]:
    """COLUMNS of one curve.

    `bound` is the upper bound of a valley's depth, `detectable` the smallest depth found 80% of the time with these
    variances. Where tau^2 is unknown the tests use the bootstrap's error alone: they are then shown for information and
    carry no verdict, there is no bound, and `detectable` is itself a lower limit.

    Args:
        detectable: taken as given where it is known from a curve with the same variances: the simulation behind it
            costs most of the time. whole: also the columns that no rule uses (left_out, p_two_lines, detectable).
    """
    n, variance = len(points.x), np.maximum(points.variance, FLOOR)
    line: dict[str, Any] = dict.fromkeys(COLUMNS, np.nan)
    line |= {"n_sizes": n, "n_models": int(points.seeds.sum()), "tau2": points.between.tau2, "df": points.between.df}
    line["best"] = ""
    if n < 3:
        return line
    errors = points.errors(plan.draws, [plan.seed, n])
    depths, p = p_values(points.y, variance, points.known, errors)
    line |= {f"D_{shape}": float(depths[shape]) for shape in SHAPES}
    line |= {f"p_{shape}": float(p[shape]) for shape in NAMED}
    weights = {name: float(w[0]) for name, w in weights_of(points.x, points.y[None], variance[None]).items()}
    line |= {f"weight_{name}": weight for name, weight in weights.items()}
    if not np.isnan(list(weights.values())).any():
        line["best"] = max(weights, key=lambda name: weights[name])
    if points.between.known:
        line["bound"] = upper_bound(points.y, variance, errors, plan.level, points.known)
    if whole:
        table = compare(points.x, points.y, variance).set_index("family")
        line |= {f"left_out_{family}": table.loc[family, "left_out"] for family in table.index}
        line["p_two_lines"] = two_lines(points.x, points.y, variance)
        line["detectable"] = detectable_depth(points, plan.level, seed=plan.seed) if detectable is None else detectable
    return line
