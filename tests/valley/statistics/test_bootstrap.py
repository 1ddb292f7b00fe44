"""The bootstrap: same draws at every rung, the right spread, coverage near its level on a simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.valley.build import edit, frame, ladder, probes
from valley.calibration.intervals import coverage, coverage_available
from valley.scores.cases import case_scores
from valley.scores.composites import by_name
from valley.scores.curve import curve
from valley.scores.resampling import Resampler
from valley.statistics import bounds, mean_interval, selection_regret
from valley.statistics.bootstrap import draw_weights, weighted_means


def test_weights_are_of_relations_and_give_the_mean_its_variance():
    relations = ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    weights = draw_weights(relations, 8000, [0])
    assert (weights >= 0).all() and np.allclose(weights.sum(1), 12) and (weights[:, 0] == weights[:, 3]).all()
    values = np.repeat([0.1, 0.5, 0.6], 4)[:, None]
    assert weighted_means(weights, values).var() == pytest.approx(np.var([0.1, 0.5, 0.6], ddof=1) / 3, rel=0.06)
    pair = weighted_means(draw_weights(["a", "b"], 8000, [0]), np.array([[0.0], [1.0]]))
    assert pair.var() == pytest.approx(0.5 / 2, rel=0.05)
    alone = draw_weights(["a"] * 5, 100, [0])
    assert not np.allclose(alone[:, 0], alone[:, 1]), "of one relation the cases are drawn"
    assert (draw_weights(relations, 50, [7]) == draw_weights(relations, 50, [7])).all()
    assert (draw_weights(relations, 50, [7]) != draw_weights(relations, 50, [8])).any()


def test_weighted_means_leave_out_nan():
    weights = np.array([[1.0, 2, 0], [0, 0, 3]])
    values = np.array([[1.0, np.nan], [0, 0.5], [0.25, np.nan]])
    means = weighted_means(weights, values)
    assert np.allclose(means, [[1 / 3, 0.5], [0.25, np.nan]], equal_nan=True)


def test_same_cases_give_the_same_draws_at_every_rung():
    parts = [
        edit(f"c{i}", probes(efficacy=[i / 10], neighbour=[1]), rung=r, rung_index=n, relation=f"rel{i % 3}")
        for n, r in enumerate(("r0", "r1"))
        for i in range(10)
    ]
    scores = case_scores(frame(*parts))
    resampler = Resampler(scores, 200, 0)
    first, second = (
        resampler.draw(scores[scores["rung"] == rung]).metrics(by_name("harmonic_raw_all")).samples
        for rung in ("r0", "r1")
    )
    assert np.array_equal(first, second, equal_nan=True), "equal scores differ between rungs: the draws are not paired"


def test_seed_decides():
    rows = ladder()
    low = [curve(rows, 2, draws=60, seed=s)["score_low"].to_numpy() for s in (0, 0, 1)]
    assert np.array_equal(low[0], low[1]) and not np.array_equal(low[0], low[2])


@pytest.mark.parametrize(("relations", "shared"), [(4, 0.0), (4, 0.2), (10, 0.05)])
def test_intervals_hold_the_truth_with_few_relations(relations: int, shared: float):
    """Before: .82 to .92 with four relations, by percentiles of a two-level bootstrap."""
    assert coverage(relations, shared, 200).value >= 0.91


def test_cases_that_are_all_equal_have_the_interval_of_a_share() -> None:
    """Three hits of three say little; the bound is that of a binomial test which no hit (no miss) would just pass."""
    samples = np.tile([0.0, 1.0, 0.5], (50, 1))
    low, high = bounds(samples, 3, 3)
    share = stats.binomtest(0, 3).proportion_ci(0.95).high
    assert np.allclose(low, [0, 1 - share, 0.5 * (1 - share)]) and np.allclose(high, [share, 1, 0.5 + 0.5 * share])
    low, high = bounds(samples, 9, 300)
    assert np.all(high - low < 0.013)
    spread = samples + np.linspace(-0.01, 0.01, 50)[:, None]
    assert np.all(np.subtract(*reversed(bounds(spread, 3, 3))) < 0.06)


def test_no_interval_leaves_the_range_of_its_score() -> None:
    """Two cases: Student's interval is 13 standard errors wide on either side; what no score can be is cut off."""
    draws = np.random.default_rng(0).choice([0.0, 1.0], (200, 1))
    low, high = bounds(np.tile(draws, 4), 2, 2, least=[0, -1, 0, -np.inf], most=[1, 1, np.inf, np.inf])
    assert low[0] == 0 and low[1] < 0 and low[1] >= -1 and high[0] == high[1] == 1 and high[2] == high[3] > 1
    assert low[2] == 0 and low[3] < 0
    low, high = bounds(np.full((50, 3), 0.5), 4, 4, least=[0, -1, 0], most=[1, 1, np.inf])
    assert (
        low[0] > 0 > low[1] and np.isnan([low[2], high[2]]).all()
    )  # of equal cases on a scale without an end: unknown


def test_the_regret_of_a_choice_widens_the_interval_of_what_is_available():
    """Before: .77 to .85, and .63 with 8 development cases."""
    assert coverage_available(8, 100).value >= 0.85
    rng = np.random.default_rng(0)
    few, many = (
        selection_regret(0.05 * rng.standard_normal(24) + 0.3 * rng.standard_normal((n, 24)), rng) for n in (6, 400)
    )
    assert few > many >= 0 and selection_regret(np.zeros((5, 1)), rng) == 0


@pytest.mark.parametrize("n", [3, 9])
def test_the_mean_of_few_models_is_covered(n: int):
    """Percentiles of redrawn models state (n - 1) / n of their variance, too little with few of them."""
    rng, hits = np.random.default_rng(n), 0
    weights = draw_weights([f"r{i % 8}" for i in range(40)], 200, [n])
    for _ in range(300):
        cases = 0.1 * rng.standard_normal((40, 1)) + 0.1 * rng.standard_normal(n) + 0.2 * rng.standard_normal((40, n))
        low, high = mean_interval(cases.mean(axis=0), weighted_means(weights, cases).T, 8)
        hits += low <= 0 <= high
    assert hits / 300 >= 0.92
