"""Prominence: how deep a valley, how high a hump, how wide three swings are, tested against the best monotone curve.

All functions work on the last axis, rungs in order of strength, and on any leading axes at once: a test of thousands of
simulated curves is a few array operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHAPES = ("valley", "hump", "four-phase")
FLOOR = 1e-6  # of a variance: a score on which all cases agree is still not known without error
MERGE = 4.0  # chi^2 below which two neighbouring blocks of the monotone null are one
_CHUNK = 1_000_000  # numbers held at once


def prominence(y: np.ndarray, shape: str = "valley") -> np.ndarray:
    """(..., n) -> (...): the depth D of the deepest valley, or its mirror; negative where the curve has none.

    valley: D = max_m min(max_{i<m} y_i - y_m, max_{j>m} y_j - y_m). hump: the same of -y. four-phase: the smallest of
    the three swings down, up, down, max over i<j<k<l of min(y_i - y_j, y_k - y_j, y_k - y_l). -inf with too few rungs.
    """
    y = np.asarray(y, float)
    if shape == "hump":
        return prominence(-y)
    n = y.shape[-1]
    if n < (4 if shape == "four-phase" else 3):
        return np.full(y.shape[:-1], -np.inf)
    if shape == "valley":
        return _depth(np.ascontiguousarray(y.reshape(-1, n).T)).reshape(y.shape[:-1])
    before = np.maximum.accumulate(y, axis=-1)
    lowest_after = np.minimum.accumulate(y[..., ::-1], axis=-1)[..., ::-1]
    best = np.full(y.shape[:-1], -np.inf)
    for j in range(1, n - 2):
        up = y[..., j + 1 : -1]
        swings = np.minimum(up - y[..., j : j + 1], up - lowest_after[..., j + 2 :]).max(axis=-1)
        best = np.maximum(best, np.minimum(before[..., j - 1] - y[..., j], swings))
    return best


def _depth(y: np.ndarray) -> np.ndarray:
    """(n, curves) -> (curves,): D of the deepest valley. Rungs come first: every step works on whole arrays."""
    after = np.empty_like(y)
    after[-1] = y[-1]
    for i in range(len(y) - 2, 1, -1):
        np.maximum(after[i + 1], y[i], out=after[i])
    best, before = np.full(y.shape[1], -np.inf), y[0].copy()
    for m in range(1, len(y) - 1):
        np.maximum(best, np.minimum(before, after[m + 1]) - y[m], out=best)
        np.maximum(before, y[m], out=before)
    return best


def isotonic(y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted least-squares increasing fit, (..., n).

    By the min-max formula, fit_i = max_{a<=i} min_{b>=i} mean(y_a..y_b) (Barlow et al. 1972, theorem 1.4), which equals
    the pool-adjacent-violators algorithm and needs no loop over curves.
    """
    y, weights = np.asarray(y, float), np.asarray(weights, float)
    shape, n = np.broadcast_shapes(y.shape, weights.shape), y.shape[-1]
    total, mass = _sums(y * weights), _sums(weights)
    out = np.full((n, *shape[:-1]), -np.inf)
    for a in range(n):
        lower = np.full(shape[:-1], np.inf)
        for b in range(n - 1, a - 1, -1):
            lower = np.minimum(lower, (total[b + 1] - total[a]) / (mass[b + 1] - mass[a]))
            out[b] = np.maximum(out[b], lower)
    return np.ascontiguousarray(np.moveaxis(out, 0, -1))


def _sums(terms: np.ndarray) -> np.ndarray:
    """(..., n) -> (n + 1, ...): running sums from 0. Rungs come first: every step works on whole arrays."""
    sums = np.zeros((terms.shape[-1] + 1, *terms.shape[:-1]))
    np.cumsum(np.moveaxis(terms, -1, 0), axis=0, out=sums[1:])
    return sums


def best_monotone(y: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """The better of the increasing and the decreasing isotonic fit, steps that noise could make taken out: (..., n).

    An isotonic fit follows noise: it draws a plateau as a slope, on which chance valleys are rarer, and a null made of
    it rejects true steps up to 8% of the time at level 5%. So neighbouring blocks are merged, nearest first, while that
    costs less than 4 in chi^2 (two standard errors).
    """
    y, variance = np.broadcast_arrays(np.asarray(y, float), np.asarray(variance, float))
    shape, n = y.shape, y.shape[-1]
    y, weights = y.reshape(-1, n), 1 / variance.reshape(-1, n)
    rising, falling = isotonic(y, weights), -isotonic(-y, weights)
    worse = ((y - rising) ** 2 * weights).sum(-1) > ((y - falling) ** 2 * weights).sum(-1)
    mean = np.where(worse[:, None], falling, rising)
    step = np.abs(np.diff(mean, axis=-1)) > 1e-12
    rows = np.arange(len(y))
    for _ in range(n - 1):
        block = np.concatenate([np.zeros((len(y), 1), int), np.cumsum(step, axis=-1)], axis=-1)
        same = block[:, :, None] == block[:, None, :]
        mass = (same * weights[:, None, :]).sum(-1)
        mean = (same * (weights * y)[:, None, :]).sum(-1) / mass
        cost = np.diff(mean, axis=-1) ** 2 / (1 / mass[:, 1:] + 1 / mass[:, :-1])
        cost = np.where(step, cost, np.inf)
        nearest = cost.argmin(axis=-1)
        cheap = cost[rows, nearest] < MERGE
        if not cheap.any():
            break
        step[rows[cheap], nearest[cheap]] = False
    return mean.reshape(shape)


@dataclass(frozen=True)
class Errors:
    """Draws of a parametric bootstrap.

    Attributes:
        z: (draws, n) standard normal. factor: (draws, n) by which each draw stretches a variance that was estimated.
    """

    z: np.ndarray
    factor: np.ndarray

    def of(self, variance: np.ndarray, known: np.ndarray | float = 0.0) -> np.ndarray:
        """Errors (..., draws, n) of curves with variances (..., n), of which `known` (..., n) is not stretched."""
        variance, known = np.broadcast_arrays(np.asarray(variance, float), np.asarray(known, float))
        return self.z * np.sqrt(known[..., None, :] + (variance - known)[..., None, :] * self.factor)


def noise(n: int, draws: int, seed: int | list[int], df: float = np.inf) -> Errors:
    """Errors of n rungs whose variances were all estimated with one factor of `df` degrees of freedom.

    With a finite `df` each draw is stretched by sqrt(df / chi^2_df): the variance itself was estimated, and plugging it
    in as known would make p too small. Student's argument, for any statistic.
    """
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((draws, n))
    factor = np.ones((draws, 1)) if np.isinf(df) else df / rng.chisquare(df, size=(draws, 1))
    return Errors(z, np.broadcast_to(factor, z.shape))


def prominence_test(
    y: np.ndarray, variance: np.ndarray, errors: Errors, shape: str = "valley", known: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """D and its p-value against the best monotone curve, by parametric bootstrap: two arrays of shape (...).

    p = (1 + number of draws with D* >= D) / (1 + draws), draws around the fitted monotone curve.

    Args:
        y: (..., n) scores in order of strength.
        variance: (..., n) or (n,) of the scores. known: the part of it that was not estimated.
    """
    y = np.asarray(y, float)
    variance = np.broadcast_to(np.maximum(variance, FLOOR), y.shape)
    n = y.shape[-1]
    flat, spread2 = y.reshape(-1, n), variance.reshape(-1, n)
    stated = np.minimum(np.broadcast_to(known, y.shape).reshape(-1, n), spread2)
    null = best_monotone(flat, spread2)
    observed = prominence(flat, shape)
    exceed = np.empty(len(flat))
    step = max(1, _CHUNK // errors.z.size)
    for i in range(0, len(flat), step):
        drawn = null[i : i + step, None, :] + errors.of(spread2[i : i + step], stated[i : i + step])
        exceed[i : i + step] = (prominence(drawn, shape) >= observed[i : i + step, None]).sum(-1)
    p = (1 + exceed) / (1 + len(errors.z))
    return observed.reshape(y.shape[:-1]), p.reshape(y.shape[:-1])


def trend_test(
    y: np.ndarray, variance: np.ndarray, errors: Errors, direction: int = 0, known: np.ndarray | float = 0.0
) -> np.ndarray:
    """p of a constant against a monotone curve: chi^2(constant) - chi^2(isotonic fit), by parametric bootstrap: (...).

    Bartholomew's chi-bar-squared statistic (1959). `direction` 1 is rising, -1 falling, 0 the better of the two.
    Arguments as of `prominence_test`.
    """
    y = np.asarray(y, float)
    variance = np.broadcast_to(np.maximum(variance, FLOOR), y.shape)
    n = y.shape[-1]
    flat, spread2 = y.reshape(-1, n), variance.reshape(-1, n)
    stated = np.minimum(np.broadcast_to(known, y.shape).reshape(-1, n), spread2)

    def statistic(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        mean = (values * weights).sum(-1, keepdims=True) / weights.sum(-1, keepdims=True)
        gains = [
            ((values - mean) ** 2 * weights).sum(-1) - ((values - fitted) ** 2 * weights).sum(-1)
            for sign, fitted in ((1, isotonic(values, weights)), (-1, -isotonic(-values, weights)))
            if direction in (0, sign)
        ]
        return np.max(gains, axis=0)

    observed = statistic(flat, 1 / spread2)
    exceed = np.empty(len(flat))
    step = max(1, _CHUNK // errors.z.size)
    for i in range(0, len(flat), step):
        part = spread2[i : i + step]
        drawn = statistic(errors.of(part, stated[i : i + step]), 1 / part[:, None, :])
        exceed[i : i + step] = (drawn >= observed[i : i + step, None]).sum(-1)
    return ((1 + exceed) / (1 + len(errors.z))).reshape(y.shape[:-1])


def upper_bound(
    y: np.ndarray, variance: np.ndarray, errors: Errors, level: float = 0.05, known: np.ndarray | float = 0.0
) -> float:
    """One-sided upper confidence bound of the true valley's depth, corrected for what noise alone adds to D.

    A valley of depth d is carved at a rung m of the best monotone curve: y_m falls d below the lower of its two
    shoulders. Depths with P(D* <= D | d, m) < level * P(D* <= D | monotone) are refuted at m; the bound is the greatest
    depth that some m leaves standing. The second factor (CLs; Read 2002) keeps a curve that is smoother than its noise
    by luck from refuting depths that this run could not have seen. NaN with fewer than three rungs.
    """
    y, variance = np.asarray(y, float), np.maximum(variance, FLOOR)
    if len(y) < 3:
        return np.nan
    fitted, drawn = best_monotone(y, variance), errors.of(variance, np.minimum(known, variance))
    observed = float(prominence(y))
    top = max(observed, 0.0) + 8 * float(np.sqrt(variance.max()))

    def share(truth: np.ndarray) -> float:
        return (1 + int((prominence(truth + drawn) <= observed).sum())) / (1 + len(drawn))

    threshold = level * share(fitted)
    bound = 0.0
    for m in range(1, len(y) - 1):
        shoulder = min(fitted[:m].max(), fitted[m + 1 :].max())
        low, high = 0.0, top
        for _ in range(14):  # to 1/16,000 of the range
            truth = fitted.copy()
            truth[m] = shoulder - (low + high) / 2
            low, high = ((low + high) / 2, high) if share(truth) >= threshold else (low, (low + high) / 2)
        bound = max(bound, high)
    return bound
