"""Hierarchical bootstrap, vectorised: relations are redrawn, then the cases inside each drawn relation.

A draw is a vector of case weights. The same weights serve every rung and setting, so differences between rungs are
paired by case. Redrawing at both levels is somewhat conservative (wider than nominal) when relations do not differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def draw_weights(relations: Sequence[str], draws: int, seed: Sequence[int]) -> np.ndarray:
    """How often each case is drawn: (draws, n_cases) float64 whole numbers.

    Drawing n cases out of a relation of n, m times over, is one multinomial of m*n: no loop over draws is needed.

    Args:
        relations: the relation of each case.
        draws: number of bootstrap samples.
        seed: seed of the generator.
    """
    rng = np.random.default_rng(list(seed))
    names, code, sizes = np.unique(
        np.asarray(relations, dtype=object).astype(str), return_inverse=True, return_counts=True
    )
    n = len(names)
    if n == 0:
        return np.zeros((draws, 0))
    times = rng.multinomial(n, np.full(n, 1 / n), size=draws)
    weights = times[:, code].astype("float64")  # already right for relations of a single case
    for r in np.flatnonzero(sizes > 1):
        size = sizes[r]
        weights[:, code == r] = rng.multinomial(times[:, r] * size, np.full(size, 1 / size))
    return weights


def crossed_weights(factors: Sequence[Sequence[str]], draws: int, seed: Sequence[int]) -> np.ndarray:
    """(draws, n_cases): the levels of every factor are redrawn on their own, and a case counts the product of its
    levels' weights.

    The pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1): right, or somewhat
    too wide, where cases share noise with those of the same relation and with those of the same subject. A draw that
    leaves no case counts all once.

    Args:
        factors: for each factor the level of every case.
    """
    rng = np.random.default_rng(list(seed))
    weights = np.ones((draws, len(factors[0])))
    for levels in factors:
        names, code = np.unique(np.asarray(levels, dtype=object).astype(str), return_inverse=True)
        weights *= rng.multinomial(len(names), np.full(len(names), 1 / max(1, len(names))), size=draws)[:, code]
    weights[weights.sum(axis=1) == 0] = 1.0
    return weights


def weighted_means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of `values` (n_cases, k) under each draw's weights, NaN left out: (draws, k); NaN where nothing is left."""
    present = ~np.isnan(values)
    total = weights @ np.where(present, values, 0.0)
    count = weights @ present.astype("float64")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)


def redraw(drawn: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """(draws,) mean over redrawn sizes of the mean over redrawn seeds; `drawn` has (seeds, draws) samples per size."""
    rng = np.random.default_rng([seed, 77])
    draws = drawn[0].shape[1]
    at = np.arange(draws)
    sizes = np.stack([d[rng.integers(len(d), size=(len(d), draws)), at].mean(axis=0) for d in drawn])
    return sizes[rng.integers(len(sizes), size=(len(sizes), draws)), at].mean(axis=0)


def interval(samples: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval over the first axis: two arrays of shape (k,); NaN where more than half the draws are."""
    samples = np.asarray(samples, float)
    low, high = np.full(samples.shape[1], np.nan), np.full(samples.shape[1], np.nan)
    missing = np.isnan(samples).mean(axis=0)
    tails = [(1 - level) / 2, (1 + level) / 2]
    if len(samples) and (missing == 0).any():
        low[missing == 0], high[missing == 0] = np.quantile(samples[:, missing == 0], tails, axis=0)
    some = (missing > 0) & (missing <= 0.5)
    if some.any():  # np.nanquantile goes column by column, which is slow; these are its numbers
        low[some], high[some] = _quantiles_without_nan(samples[:, some], tails)
    return low, high


def _quantiles_without_nan(samples: np.ndarray, tails: Sequence[float]) -> list[np.ndarray]:
    """Quantiles of each column but its NaN, by linear interpolation as numpy does it, from both sides."""
    ranked = np.sort(samples, axis=0)  # NaN last
    last, column = (~np.isnan(samples)).sum(axis=0) - 1, np.arange(samples.shape[1])
    out = []
    for tail in tails:
        place = tail * last
        below = np.floor(place).astype(int)
        one, two = ranked[below, column], ranked[np.minimum(below + 1, last), column]
        share = place - below
        out.append(np.where(share >= 0.5, two - (two - one) * (1 - share), one + (two - one) * share))
    return out
