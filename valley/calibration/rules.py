"""How often the rules of `valley.verdicts` name a wrong shape, or the right one, on simulated studies."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import kendalltau

from editing.lazy import pandas as pd
from valley.calibration.conditions import Condition, Runs, simulate
from valley.scores import AnalysisPlan
from valley.statistics import drawn_errors
from valley.verdicts import BEST, CONCORDANT, INCONCLUSIVE, NAMED, Rate, p_values, verdict, weights_of

PLAN = AnalysisPlan(draws=500)  # fewer than a real analysis takes: p of .05 has a Monte Carlo error of .01
MONOTONE = ("exponential", "logistic")  # two names of one thing where the direction is right


def tests_of(
    runs: Runs, condition: Condition, rng: np.random.Generator, plan: AnalysisPlan = PLAN
) -> list[pd.DataFrame]:
    """Tests of each run as `valley.verdicts.shapes` makes them, on two axes that order the sizes alike.

    With a noise axis it is the first or the second, and the second counts where Kendall's tau with the first is high
    enough. Single methods, which are support, are tested only where the best method's curve shows a shape.
    """
    total, n = len(runs.y), runs.y.shape[-1]
    x = np.linspace(0, 1, n)
    orders = np.tile(np.arange(n), (2, total, 1))
    counted = np.ones((2, total), bool)
    if condition.noise_axis >= 0:
        orders[condition.noise_axis] = np.argsort(rng.random((total, n)), axis=1)
        places = np.argsort(orders, axis=2)
        results: list[Any] = [kendalltau(a, b) for a, b in zip(*places, strict=True)]
        counted[1] = [result.statistic >= CONCORDANT for result in results]
    tests: list[list[dict]] = [[] for _ in range(total)]

    def add(curve: int, axis: int, at: np.ndarray) -> None:
        for r, line in zip(
            at, _lines(runs, curve, orders[axis], (x, x**1.5)[axis], at, [plan.seed, axis], plan), strict=True
        ):
            grid = "shared" if condition.artefact[1] and curve in (1, 2) else ""
            method = f"m{curve}" if curve else BEST
            about = {"family": "grown", "method": method, "axis": f"axis {axis}", "grid": grid}
            tests[r].append(about | {"counted": bool(counted[axis, r])} | line)

    for axis in (0, 1):
        add(0, axis, np.arange(total))
    for curve in range(1, runs.y.shape[1]):
        add(curve, 0, np.flatnonzero([_shows(lines, plan) for lines in tests]))
    return [pd.DataFrame(lines) for lines in tests]


def _shows(lines: list[dict], plan: AnalysisPlan) -> bool:
    best = [line for line in lines if line["method"] == BEST]
    return any(all(line[f"p_{s}"] < plan.level and line[f"weight_{s}"] > plan.weight for line in best) for s in NAMED)


def _lines(
    runs: Runs, curve: int, order: np.ndarray, x: np.ndarray, at: np.ndarray, seed: list[int], plan: AnalysisPlan
) -> list[dict]:
    """The columns of `valley.verdicts.judge` that the rules use, of one curve of the runs `at`."""
    if not len(at):
        return []
    y, variance, known = (
        np.take_along_axis(a[at, curve], order[at], axis=1) for a in (runs.y, runs.variance, runs.known)
    )
    # Which size stands where differs by run where an axis is noise; the degrees of freedom then are those of the mean.
    df = runs.seeds - 1
    p = p_values(y, variance, known, drawn_errors(df, plan.draws, seed))[1]
    weights = weights_of(x, y, variance)
    base = {
        "n_sizes": len(x),
        "n_models": int(runs.seeds.sum()),
        "df": int(df.sum()),
        "bound": np.nan,
        "detectable": np.nan,
    }
    return [
        base
        | {f"{name}_{s}": float(p[s][r]) for s in NAMED for name in ("p", "holm")}
        | {f"weight_{family}": float(weight[r]) for family, weight in weights.items()}
        for r in range(len(at))
    ]


def rates(condition: Condition, runs: int, seed: int = 0, plan: AnalysisPlan = PLAN) -> dict[str, Rate]:
    """Shares of runs: `right` shape named, `wrong` shape named, INCONCLUSIVE; `alone`: a wrong valley or hump has
    p < level with the best method's curve alone, before the other rules."""
    rng = np.random.default_rng([seed, *condition.name.encode()])
    made = simulate(condition, runs, rng)
    count = dict.fromkeys(("right", "wrong", INCONCLUSIVE, "alone"), 0)
    for tests in tests_of(made, condition, rng, plan):
        outcome = verdict(tests, plan).outcome
        right = outcome == condition.shape or (outcome in MONOTONE and condition.shape in MONOTONE)
        count[outcome if outcome == INCONCLUSIVE else "right" if right else "wrong"] += 1
        count["alone"] += any(tests[f"p_{s}"].iloc[0] < plan.level for s in ("valley", "hump") if s != condition.shape)
    return {name: Rate(hits, runs) for name, hits in count.items()}
