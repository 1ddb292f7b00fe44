"""The calibration itself: its truths, its variances, its table; a slow test reruns part of it and checks the nominal
level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from valley.calibration.shapes import (
    GRID,
    MONOTONE,
    PLAN,
    SEEDS,
    SPAN,
    TRUTHS,
    Setting,
    calibrate,
    format_readme,
    rates,
    simulate,
    truth,
    verdicts,
)
from valley.statistics.prominence import SHAPES, prominence
from valley.statistics.variance import points

COMMITTED = Path(__file__).resolve().parents[3] / "results" / "calibration" / "calibration.csv"
CELL = Setting("valley", 9, 0.05, "right")


def test_truths_are_what_they_are_called():
    x = np.linspace(0, 1, 101)
    for name in TRUTHS:
        assert np.ptp(truth(name, x)) <= SPAN * 1.01
        for shape in SHAPES:
            deep = float(prominence(truth(name, x), shape))
            expected = name == shape or name == "four-phase"  # four phases hold a valley and a hump
            assert (deep > 0.25) == expected, (name, shape)
    assert all(np.diff(truth(name, x)).min() >= 0 or np.diff(truth(name, x)).max() <= 0 for name in MONOTONE)


def test_simulated_variances_are_those_of_a_real_analysis():
    """The vectorised estimate equals `points` on the same scores, and luck shared by two methods is shared."""
    y, variance, _, df = simulate(CELL, 4000, np.random.default_rng(0))
    assert np.isclose(variance.mean(), 0.05**2 / SEEDS, rtol=0.05) and df == 18
    assert np.allclose(y.var(axis=0), 0.05**2 / SEEDS, rtol=0.15)
    rng = np.random.default_rng(1)
    scores = truth("flat", np.zeros(9))[:, None] + 0.05 * rng.standard_normal((9, SEEDS))
    rungs = [f"m{i}-s{s}" for i in range(9) for s in range(SEEDS)]
    se2 = np.full(27, (0.6 * 0.05) ** 2)
    made = points(np.repeat(np.arange(9), SEEDS), scores.ravel(), se2, rungs)
    assert np.isclose(made.between.tau2, max(0, scores.var(axis=1, ddof=1).mean() - se2[0]))
    luck = np.random.default_rng(2).standard_normal((4000, 9, SEEDS))
    one, two = (simulate(CELL, 4000, np.random.default_rng(s), luck)[0][:, 0] for s in (3, 4))
    assert np.isclose(np.corrcoef(one, two)[0, 1], 0.5 * 0.64, atol=0.05)


def test_variances_that_are_wrong_are_wrong_as_told():
    means = {
        v: simulate(Setting("flat", 9, 0.1, v), 2000, np.random.default_rng(0))[1].mean()
        for v in ("right", "ignored", "doubled")
    }
    assert np.isclose(means["doubled"], 2 * means["right"]) and np.isclose(means["ignored"], 0.06**2 / SEEDS)


def test_a_small_calibration_and_its_page():
    table = calibrate([Setting("flat", 5, 0.1, "right"), Setting("hump", 5, 0.1, "right")], 60, 2, PLAN)
    assert table.equals(calibrate([Setting("flat", 5, 0.1, "right"), Setting("hump", 5, 0.1, "right")], 60, 2, PLAN))
    assert np.allclose(table[["verdict_right", "verdict_inconclusive", "verdict_wrong"]].sum(axis=1), 1)
    page = format_readme(table, PLAN)
    assert "| flat | 5 | 0.1 | right |" in page and "| hump | 5 | 0.1 |" in page


def test_the_committed_table_keeps_the_level_and_is_of_this_grid():
    table = pd.read_csv(COMMITTED)
    cells = list(table[["truth", "rungs", "sd", "variance"]].itertuples(index=False, name=None))
    assert cells == [tuple(vars(setting).values()) for setting in GRID]
    right = table[table["variance"] == "right"]
    monotone = right[right["truth"].isin(MONOTONE)]
    for shape in SHAPES:
        assert (monotone[f"{shape}_low"] <= PLAN.level).all(), shape
        assert monotone[shape].mean() < PLAN.level
    assert right["verdict_wrong"].mean() < PLAN.level and right["verdict_covered"].min() >= 0.9
    ignored = table[(table["variance"] == "ignored") & (table["truth"] == "flat")]
    assert (ignored["valley"] > 2 * PLAN.level).all(), "the reason why seeds are needed"


@pytest.mark.slow
@pytest.mark.parametrize("name", MONOTONE)
def test_the_level_holds_when_measured_again(name: str):
    """A twentieth of the committed table, on other random numbers."""
    plan = PLAN.__class__(draws=PLAN.draws, seed=11)
    for setting in (Setting(name, 5, 0.1, "right"), Setting(name, 9, 0.03, "right")):
        assert all(rate.interval[0] <= plan.level for rate in rates(setting, 600, plan).values())
    found = verdicts(Setting(name, 9, 0.03, "right"), 40, plan)
    assert found["wrong"].interval[0] <= plan.level and found["covered"].value >= 0.9
