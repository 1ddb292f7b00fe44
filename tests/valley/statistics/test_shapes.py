"""Families, prominence and variances against values worked out by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from valley.statistics.families import FAMILIES, fit, standardised
from valley.statistics.holm import holm
from valley.statistics.likelihood import bic_weights, compare
from valley.statistics.prominence import (
    SHAPES,
    best_monotone,
    isotonic,
    noise,
    prominence,
    prominence_test,
    trend_test,
    upper_bound,
)
from valley.statistics.two_lines import two_lines
from valley.statistics.variance import points, size_of

X = np.linspace(0, 1, 9)
TRUTHS = {
    "constant": np.full(9, 0.5),
    "exponential": 0.2 + 0.6 * np.exp(-5 * X),
    "logistic": 0.2 + 0.6 / (1 + np.exp(-(X - 0.5) / 0.04)),
    "hump": 0.2 + 0.5 * np.exp(-0.5 * ((X - 0.4) / 0.15) ** 2),
    "valley": 0.8 - 0.5 * np.exp(-0.5 * ((X - 0.4) / 0.15) ** 2),
    "four-phase": 0.5 + 0.3 * np.cos(3 * np.pi * X),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_a_family_fits_its_own_truth_and_has_the_weight(name: str):
    y, variance = TRUTHS[name], np.full(9, 0.02**2)
    family = next(f for f in FAMILIES if f.name == name)
    assert np.abs(fit(family, X, y, 1 / variance[None]).mean[0] - y).max() < 0.02
    table = compare(X, y, variance).set_index("family")
    assert table["weight_bic"].idxmax() == name and (name == "constant" or table.loc[name, "weight_bic"] > 0.8)
    assert np.isclose(table["weight_bic"].sum(), 1)


def test_names_bind_the_direction():
    """A valley cannot fit a hump: its bell may only point down, and at best it is flat."""
    weights = np.ones((1, 9))
    for family, truth in (("valley", "hump"), ("hump", "valley")):
        chosen = next(f for f in FAMILIES if f.name == family)
        fitted = fit(chosen, X, TRUTHS[truth], weights).mean[0]
        assert prominence(fitted, truth) < 1e-6
    rising = next(f for f in FAMILIES if f.name == "exponential")
    assert np.allclose(fit(rising, X, X, weights).mean[0], X.mean(), atol=1e-6), "a decline cannot rise"


def test_log_likelihood_and_criteria_by_hand():
    y, variance = np.array([0.1, 0.3, 0.2, 0.4, 0.3, 0.5]), np.full(6, 0.01)
    line = compare(np.arange(6.0), y, variance).set_index("family").loc["constant"]
    expected = -0.5 * (6 * np.log(2 * np.pi * 0.01) + ((y - y.mean()) ** 2).sum() / 0.01)
    assert np.isclose(line["log_likelihood"], expected)
    assert np.isclose(line["bic"], -2 * expected + np.log(6)) and np.isclose(line["aicc"], -2 * expected + 2 + 4 / 4)
    others = [(y.sum() - v) / 5 for v in y]
    left_out = np.mean(
        [-0.5 * (np.log(2 * np.pi * 0.01) + (v - m) ** 2 / 0.01) for v, m in zip(y, others, strict=True)]
    )
    assert np.isclose(line["left_out"], left_out)


def test_weights_are_undefined_where_rungs_are_too_few():
    table = compare(np.arange(5.0), np.zeros(5), np.full(5, 0.01)).set_index("family")
    assert table.loc["valley", ["aicc", "bic", "left_out"]].isna().all()
    assert table.loc[["constant", "exponential"], ["aicc", "bic", "left_out"]].notna().all().all()
    assert table[["weight_aicc", "weight_bic"]].isna().all().all(), "a weight among a part of the families is none"


def test_prominence_by_hand():
    assert np.isclose(prominence(np.array([0.8, 0.3, 0.6])), 0.3)
    assert np.isclose(prominence(np.array([0.2, 0.9, 0.4]), "hump"), 0.5)
    assert np.isclose(prominence(np.array([0.9, 0.2, 0.7, 0.1]), "four-phase"), 0.5)
    assert np.isclose(prominence(np.array([0.9, 0.5, 0.2, 0.3, 0.7, 0.1]), "four-phase"), 0.5)
    assert prominence(np.arange(5.0)) <= 0 and prominence(np.arange(5.0)[::-1], "hump") <= 0
    assert prominence(np.zeros(2)) == -np.inf and prominence(np.zeros(3), "four-phase") == -np.inf


def test_prominence_equals_the_definition_on_random_curves():
    curves = np.random.default_rng(0).normal(size=(40, 7))
    for y in curves:
        slow = max(min(y[:m].max() - y[m], y[m + 1 :].max() - y[m]) for m in range(1, 6))
        swings = [
            min(y[i] - y[j], y[k] - y[j], y[k] - y[q])
            for i in range(7) for j in range(i + 1, 7) for k in range(j + 1, 7) for q in range(k + 1, 7)
        ]  # fmt: skip
        assert np.isclose(prominence(y), slow) and np.isclose(prominence(y, "four-phase"), max(swings))


def test_isotonic_equals_scipy():
    rng = np.random.default_rng(1)
    y, w = rng.normal(size=(30, 9)), rng.uniform(0.3, 3, size=(30, 9))
    assert np.allclose(isotonic(y, w), [isotonic_regression(a, weights=b).x for a, b in zip(y, w, strict=True)])


def test_the_monotone_null_keeps_real_steps_and_drops_the_rest():
    y = np.array([0.50, 0.51, 0.50, 0.52, 0.90, 0.91, 0.90])
    null = best_monotone(y, np.full(7, 0.02**2))
    assert np.allclose(null, [y[:4].mean()] * 4 + [y[4:].mean()] * 3)
    assert np.allclose(best_monotone(-y, np.full(7, 0.02**2)), -null)


@pytest.mark.parametrize("shape", SHAPES)
def test_clear_shapes_are_found_and_monotone_ones_are_not(shape: str):
    variance, errors = np.full(9, 0.03**2), noise(9, 400, 0)
    result, p = prominence_test(TRUTHS[shape], variance, errors, shape)
    assert result > 0.3 and p < 0.01
    assert prominence_test(TRUTHS["exponential"], variance, errors, shape)[1] > 0.5


def test_fewer_degrees_of_freedom_make_p_larger():
    y = 0.5 - 0.11 * np.exp(-0.5 * ((X - 0.4) / 0.15) ** 2)
    p = [float(prominence_test(y, np.full(9, 0.03**2), noise(9, 4000, 0, df))[1]) for df in (np.inf, 18, 3)]
    assert p[0] < p[1] < p[2]


def test_trend():
    errors = noise(9, 400, 0)
    variance = np.full(9, 0.05**2)
    assert trend_test(X, variance, errors, 1) < 0.01 < 0.5 < trend_test(X, variance, errors, -1)
    assert trend_test(-X, variance, errors) < 0.01


def test_upper_bound_holds_the_true_depth():
    """A valley of depth .15 seen with error .03: the 95% bound falls below it at most about 5 times in 100."""
    rng, truth = np.random.default_rng(2), np.array([0.6, 0.6, 0.5, 0.45, 0.5, 0.6, 0.6])
    variance, errors = np.full(7, 0.03**2), noise(7, 1000, 1)
    bounds = [upper_bound(truth + 0.03 * rng.standard_normal(7), variance, errors) for _ in range(120)]
    assert np.mean(np.array(bounds) < 0.15) <= 0.08
    flat = [upper_bound(0.5 + 0.03 * rng.standard_normal(7), variance, errors) for _ in range(40)]
    assert 0.05 < np.mean(flat) < 0.15 and min(flat) > 0.03
    assert np.isnan(upper_bound(np.zeros(2), np.ones(2), noise(2, 10, 0)))


def test_two_lines():
    variance = np.full(9, 0.02**2)
    assert two_lines(X, TRUTHS["valley"], variance) < 0.01
    assert two_lines(X, TRUTHS["hump"], variance) == 1 and two_lines(X, X, variance) == 1
    assert np.isnan(two_lines(X[:4], X[:4], variance[:4]))
    five, exact = np.linspace(0, 1, 5), variance[:5]
    assert two_lines(five, np.array([0.9, 0.6, 0.2, 0.5, 0.9]), exact) < 0.01  # two strengths draw a line


def test_sizes_by_hand():
    assert size_of("gpt2-1x64-s12") == "gpt2-1x64" == size_of("gpt2-1x64") and size_of("a-s1-b") == "a-s1-b"


def facts_of(sizes: int, seeds: int, common: float, shared: float, own: float, draws: int = 4000) -> np.ndarray:
    """Bootstrap samples (sizes * seeds, draws) with these standard deviations."""
    rng = np.random.default_rng(0)
    drawn = common * rng.standard_normal(draws) + shared * rng.standard_normal((sizes, 1, draws))
    return (drawn + own * rng.standard_normal((sizes, seeds, draws))).reshape(sizes * seeds, draws)


def names(sizes: int, seeds: int) -> list[str]:
    return [f"m{i}-s{s}" for i in range(sizes) for s in range(seeds)]


def test_the_error_of_facts_that_seeds_share_does_not_shrink_with_seeds():
    """Before, se^2 was divided by the seeds, all of which saw the same facts; what all sizes share moves no shape."""
    samples = facts_of(6, 3, common=0.05, shared=0.02, own=0.01)
    values = np.random.default_rng(1).normal(0.5, 0.01, 18)
    made = points(np.repeat(np.arange(6), 3), values, samples, names(6, 3))
    assert np.allclose(np.sqrt(made.known), 0.02, rtol=0.1)
    assert (made.variance > 0.02**2 * 0.85).all() and (made.variance < 0.05**2).all()


def test_the_variance_of_a_size_is_its_own_shrunken_to_the_pool():
    """Before, one size of four times the luck widened the bounds of all others and had too narrow ones itself."""
    values = np.tile([0.49, 0.5, 0.51], (6, 1))
    values[2] = [0.42, 0.5, 0.58]
    made = points(np.repeat(np.arange(6), 3), values.ravel(), facts_of(6, 3, 0, 0, 1e-4), names(6, 3))
    spread = values.var(axis=1, ddof=1)
    shrunken = (4 * spread.mean() + 2 * spread) / 6 / 3
    assert np.allclose(made.variance, shrunken, rtol=0.01) and made.variance[2] > 3 * made.variance[0]


def test_points_average_seeds_in_order_of_strength():
    rungs = ["b", "a", "b-s1", "c", "d"]
    made = points([2, 1, 2, 1.5, 3], [0.6, 0.5, 0.8, 0.1, np.nan], np.zeros((5, 10)), rungs)
    assert made.sizes == ("a", "c", "b") and np.allclose(made.y, [0.5, 0.1, 0.7]) and list(made.seeds) == [1, 1, 2]
    assert np.isclose(made.between.tau2, 0.02) and made.between.df == 1
    # One seed borrows the pool; with two, the size is shrunken to it, here its own.
    assert np.allclose(made.variance, [0.02 * 4 / 4, 0.02, 0.01])
    unknown = points([1, 2, 3], [0.1, 0.2, 0.3], facts_of(3, 1, 0, 0.1, 0), ["a", "b", "c"])
    assert not unknown.between.known and np.allclose(unknown.variance, 0.01, rtol=0.3)
    assert (unknown.errors(10, [0]).factor == 1).all()
    assert len(points([], [], np.zeros((0, 5)), []).x) == 0


def test_sizes_of_equal_strength_are_one_point():
    """Three of eleven sizes tied on the second axis; their order, and with it a valley, was the alphabet's."""
    made = points([1, 2, 2, 3], [0.5, 0.2, 0.8, 0.5], facts_of(4, 1, 0, 0.1, 0), ["a", "b", "c", "d"])
    assert made.sizes == ("a", "b+c", "d") and np.allclose(made.y, 0.5)
    assert made.variance[1] == pytest.approx(0.005, rel=0.3)


def test_holm_leaves_out_what_was_not_tested():
    assert np.allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04], equal_nan=True)


def test_bic_weights_of_many_curves_are_those_of_one():
    y = np.stack([TRUTHS["valley"], TRUTHS["logistic"]])
    variance = np.stack([np.full(9, 0.02**2), np.linspace(0.02, 0.05, 9) ** 2])
    for i, weights in enumerate(bic_weights(X, y, variance)):
        assert np.allclose(weights, compare(X, y[i], variance[i])["weight_bic"])
    p = [trend_test(one, v, noise(9, 200, 0)) for one, v in zip(y, variance, strict=True)]
    assert np.allclose(trend_test(y, variance, noise(9, 200, 0)), p)


def test_standardised():
    assert np.allclose(standardised(np.array([2.0, 4, 3])), [0, 1, 0.5]) and (standardised(np.ones(3)) == 0).all()
