"""The bootstrap: same draws at every rung, the right spread, coverage near its level on a simulated truth."""

from __future__ import annotations

import numpy as np
import pytest

from tests.valley.build import edit, frame, ladder, probes
from valley.scores.cases import case_scores
from valley.scores.curve import curve
from valley.scores.settings import Resampler
from valley.statistics.bootstrap import crossed_weights, draw_weights, interval, weighted_means


def test_weights_are_a_two_level_resample():
    relations = ["a"] * 4 + ["b"] * 4 + ["c"]
    weights = draw_weights(relations, 4000, [0])
    assert (weights >= 0).all() and (weights == weights.round()).all()
    times = np.stack([weights[:, :4].sum(1) / 4, weights[:, 4:8].sum(1) / 4, weights[:, 8]], axis=1)
    assert (times.sum(1) == 3).all(), "three relations are drawn, each with as many cases as it has"
    assert np.allclose(weights.mean(0), 1, atol=0.06)
    # Within a drawn relation of 4 cases a case's count is multinomial: variance m * 4 * (1/4) * (3/4).
    once = weights[times[:, 0] == 1][:, 0]
    assert abs(once.var() - 0.75) < 0.1
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
    _, first = resampler.metrics(scores[scores["rung"] == "r0"])
    _, second = resampler.metrics(scores[scores["rung"] == "r1"])
    assert np.array_equal(first, second, equal_nan=True), "equal scores differ between rungs: the draws are not paired"


def test_seed_decides():
    rows = ladder()
    low = [curve(rows, 2, draws=60, seed=s)["harmonic_mean_low"].to_numpy() for s in (0, 0, 1)]
    assert np.array_equal(low[0], low[1]) and not np.array_equal(low[0], low[2])


def test_coverage_is_near_its_level():
    """Truth .6; 12 relations with their own shift, 8 cases each: a 95% interval should hold it about 95 times in
    100."""
    rng = np.random.default_rng(5)
    relations = [f"r{i:02d}" for i in range(12) for _ in range(8)]
    held, widths, trials = 0, [], 300
    for t in range(trials):
        shift = np.repeat(rng.normal(0, 0.10, 12), 8)
        values = (0.6 + shift + rng.normal(0, 0.2, 96))[:, None]
        low, high = interval(weighted_means(draw_weights(relations, 400, [t]), values))
        held += bool(low[0] <= 0.6 <= high[0])
        widths.append(high[0] - low[0])
    assert 0.91 <= held / trials <= 0.995
    true_sd = np.sqrt(0.10**2 / 12 + 0.2**2 / 96)
    assert 0.85 < np.mean(widths) / (2 * 1.96 * true_sd) < 1.35


def test_crossed_weights_hold_the_spread_of_both_factors():
    """Noise by relation and by subject: the variance of the mean is the sum of both, and cases alone would hide it."""
    relations, subjects = [f"r{i % 20}" for i in range(400)], [f"s{i // 20}" for i in range(400)]
    rng = np.random.default_rng(0)
    r, s = rng.standard_normal((2, 20))
    values = np.array([r[i % 20] + s[i // 20] for i in range(400)])
    weights = crossed_weights([relations, subjects], 4000, [1])
    means = weighted_means(weights, values[:, None])[:, 0]
    assert means.var() == pytest.approx((r.var() + s.var()) / 20, rel=0.15)
    assert (weights.sum(axis=1) > 0).all() and np.array_equal(
        weights, crossed_weights([relations, subjects], 4000, [1])
    )
