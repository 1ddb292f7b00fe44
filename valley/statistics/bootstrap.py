"""Bootstrap over relations, vectorised.

A draw is a vector of case weights. The same weights serve every rung and setting, so differences between rungs are
paired by case. Cases of one relation share its luck, so relations are the units: their weights are Dirichlet with the
concentration (G - 2) / G for G relations, which gives the mean over relations the variance s^2 / G that theory asks for
however few there are (redrawing G relations gives (G - 1) / G of it), whether or not relations differ. Fewer relations
make that variance itself uncertain: intervals take Student's t with G - 1 degrees of freedom (`t_interval`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from editing.lazy import special

EQUAL = 1e-9  # a narrower interval has no width but that of rounding


def draw_weights(relations: Sequence[str], draws: int, seed: Sequence[int]) -> np.ndarray:
    """How much each case counts: (draws, n_cases) float64, mean 1; cases of one relation alike.

    A single relation cannot be redrawn: there the cases are, and what follows holds for that relation.

    Args:
        relations: the relation of each case.
        draws: number of bootstrap samples.
        seed: seed of the generator.
    """
    rng = np.random.default_rng(list(seed))
    names, code = np.unique(np.asarray(relations, dtype=object).astype(str), return_inverse=True)
    if len(names) == 0:
        return np.zeros((draws, 0))
    if len(names) == 1:
        code = np.arange(len(code))
    return unit_weights(int(code.max()) + 1, draws, rng)[:, code]


def unit_weights(n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, n) weights of n exchangeable units, mean 1, under which a weighted mean has the variance s^2 / n."""
    if n <= 2:
        return np.eye(n)[rng.integers(n, size=draws)] * n  # the limit of the concentration 0
    drawn = np.maximum(rng.gamma((n - 2) / n, size=(draws, n)), 1e-12)
    return drawn * (n / drawn.sum(axis=1, keepdims=True))


def weighted_means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of `values` (n_cases, k) under each draw's weights, NaN left out: (draws, k); NaN where nothing is left."""
    present = ~np.isnan(values)
    total = weights @ np.where(present, values, 0.0)
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing is left
        return np.divide(total, weights @ present.astype("float64"), out=total)


def harmonic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """2ab / (a + b); 0 where both are 0; NaN where one is."""
    total = a + b
    return np.where(total == 0, 0.0, 2 * a * b / np.where(total == 0, 1.0, total))


def redraw(drawn: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """(draws,) mean over redrawn sizes of the mean over redrawn seeds; `drawn` has (seeds, draws) samples per size."""
    rng = np.random.default_rng([seed, 77])
    draws = drawn[0].shape[1]
    at = np.arange(draws)
    sizes = np.stack([d[rng.integers(len(d), size=(len(d), draws)), at].mean(axis=0) for d in drawn])
    return sizes[rng.integers(len(sizes), size=(len(sizes), draws)), at].mean(axis=0)


def n_units(units: np.ndarray, there: np.ndarray) -> np.ndarray:
    """How many different `units` (n,) the cases have where `there` (n, ...) is true: (...)."""
    order = np.argsort(units, kind="stable")
    starts = np.flatnonzero(np.diff(units[order], prepend=-1))
    return np.logical_or.reduceat(there[order], starts, axis=0).sum(axis=0)


def scarcest(counts: np.ndarray, make: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """How many units, or cases, scores rest on that `make` makes of means, of which `counts` (any shape) have so many
    each: as many as the scarcest mean has that the score is not measurable without.

    So a mean over kinds counts those of its widest kind, and what is made of two sides those of the smaller side.

    Args:
        make: (n, *counts.shape) means, NaN where not measured -> (n, *shape of the scores).
    """
    levels = np.unique(counts)
    ahead: Callable[[np.ndarray], np.ndarray] = lambda made: levels.reshape(-1, *[1] * (made.ndim - 1))  # noqa: E731
    made = make(np.where(counts >= ahead(counts[None]), 0.5, np.nan))
    return np.where(np.isfinite(made), ahead(made), 0).max(axis=0)


def t_interval(
    value: np.ndarray, samples: np.ndarray, units: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval around estimates (k,) from bootstrap samples (draws, k) over `units` relations, or cases of a
    single relation, a number or (k,): t with units - 1 degrees of freedom.

    NaN from fewer than two units, and where half the draws are.
    """
    value, samples, units = np.asarray(value, float), np.asarray(samples, float), np.asarray(units, float)
    finite = np.isfinite(samples)
    count = finite.sum(axis=0)
    deviation = np.where(finite, samples - value, 0.0)
    se = np.sqrt((deviation**2).sum(axis=0) / np.maximum(count - 1, 1))
    stated = (count > len(samples) / 2) & (units > 1) & (len(samples) > 1)
    half = np.where(stated, special.stdtrit(np.maximum(units - 1, 1), (1 + level) / 2) * se, np.nan)
    return value - half, value + half


def interval_of_equals(
    value: np.ndarray, cases: ArrayLike, least: ArrayLike = 0.0, most: ArrayLike = 1.0, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean of a score in [least, most] that was the same, `value` (k,), in all of `cases` independent
    cases, a number or (k,).

    With the share of other cases at most p = 1 - ((1 - level) / 2)^(1 / cases), the exact bound of Clopper and Pearson
    (1934) for none among them, and those at an end of the scale: [value - p (value - least), value + p (most - value)].
    NaN where the scale has no end: other cases may be anywhere.
    """
    share = 1 - ((1 - level) / 2) ** (1 / np.maximum(cases, 1))
    bounded = np.isfinite(least) & np.isfinite(most)
    low, high = (np.where(bounded, value + share * (end - value), np.nan) for end in (least, most))
    return low, high


def within_range(
    value: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    cases: ArrayLike,
    least: ArrayLike = 0.0,
    most: ArrayLike = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """The intervals `low` to `high` (k,) of estimates (k,), as what is known of the scores allows.

    Where an interval has no width, all cases are the same, which states no spread: there it is what so many equal
    `cases`, a number or (k,), allow (`interval_of_equals`), not a single point. What lies outside [least, most]
    (numbers, or (k,)), where no value of the score can be, is cut off; no true value is lost by that.
    """
    of_equals = interval_of_equals(value, cases, least, most)
    low, high = (np.where(high - low < EQUAL, *pair) for pair in zip(of_equals, (low, high), strict=True))
    return np.clip(low, least, most), np.clip(high, least, most)


def bounds(
    samples: np.ndarray,
    units: ArrayLike,
    cases: ArrayLike,
    centre: np.ndarray | None = None,
    least: ArrayLike = 0.0,
    most: ArrayLike = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """95% interval of each score (draws, k), by Student's t over the units that were drawn, `within_range`.

    It lies around `centre` (k,), or the mean of the draws. NaN from fewer than two units.

    Args:
        units, cases: how many have the score, not how many there are: numbers, or (k,).
    """
    mean = np.nansum(samples, axis=0) / np.maximum(np.isfinite(samples).sum(axis=0), 1) if centre is None else centre
    return within_range(mean, *t_interval(mean, samples, units), cases, least, most)


def mean_interval(
    values: np.ndarray, samples: np.ndarray, units: int, spread: bool = True, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean of scores (n,) of models, or of sizes, all measured on the same facts.

    Its variance has a part by facts, which the samples state, and one by training, which the spread of the scores
    states beyond the error of each one's answers. Both are estimated, with units - 1 and n - 1 degrees of freedom, so
    the interval is Student's with those of Satterthwaite (1946, "An approximate distribution of estimates of variance
    components"). Two models hardly tell their spread: of them it covers .86 in simulation, of three or more .94 to .96.

    Args:
        samples: (n, draws) of the bootstrap, the same facts in each row. units: relations that were drawn.
        spread: False where the mean is of these models only, not of others like them.

    Returns:
        NaN from fewer than two units or draws.
    """
    n, value = len(values), float(values.mean())
    samples = samples[:, np.isfinite(samples).all(axis=0)]
    if units < 2 or samples.shape[1] < 2:
        return np.nan, np.nan
    facts = float(samples.mean(axis=0).var(ddof=1))
    own = float((samples - samples.mean(axis=0)).var(axis=1).sum()) / max(1, n - 1)  # of one, beyond what all share
    between = max(0.0, float(values.var(ddof=1)) - own) / n if spread and n > 1 else 0.0
    freedom = (facts + between) ** 2 / max(facts**2 / (units - 1) + between**2 / max(1, n - 1), 1e-300)
    half = float(special.stdtrit(max(1.0, freedom), (1 + level) / 2)) * np.sqrt(facts + between)
    return value - half, value + half
