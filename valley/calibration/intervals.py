"""Coverage of intervals: of one setting's score, of what a rung makes available, and of differences between runs."""

from __future__ import annotations

import numpy as np

from valley.compare import difference_interval
from valley.statistics import draw_weights, selection_regret, t_interval, weighted_means
from valley.verdicts import Rate

CASES, DRAWS = 120, 400
NOISE = 0.3  # sd of a case's score


def _drawn(relations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(CASES,) the relation of each case, and (DRAWS, CASES) weights of the bootstrap over `relations`."""
    code = np.arange(CASES) % relations
    return code, draw_weights([f"r{i}" for i in code], DRAWS, [seed, relations])


def coverage(relations: int, shared: float, runs: int, seed: int = 0) -> Rate:
    """How often the 95% interval of a mean over cases in `relations`, with sd `shared` between relations, holds the
    truth."""
    rng = np.random.default_rng([seed, relations, int(1000 * shared)])
    code, weights = _drawn(relations, seed)
    hits = 0
    for _ in range(runs):
        values = shared * rng.standard_normal(relations)[code] + NOISE * rng.standard_normal(CASES)
        low, high = t_interval(values.mean()[None], weighted_means(weights, values[:, None]), relations)
        hits += bool(low[0] <= 0 <= high[0])
    return Rate(hits, runs)


def coverage_available(dev: int, runs: int, relations: int = 10, settings: int = 24, seed: int = 0) -> Rate:
    """How often the interval of the best of `settings` holds it, when chosen on `dev` cases and scored on CASES others.

    The upper end is raised by the regret of the choice (`selection_regret`).
    """
    rng = np.random.default_rng([seed, dev, relations])
    code, weights = _drawn(relations, seed)
    hits = 0
    for _ in range(runs):
        truth = 0.6 + 0.05 * rng.standard_normal(settings)
        facts = 0.2 * rng.standard_normal(dev)  # hard or easy whatever the setting
        tried = truth + facts[:, None] + NOISE * rng.standard_normal((dev, settings))
        best = int(tried.mean(axis=0).argmax())
        values = truth[best] + 0.05 * rng.standard_normal(relations)[code] + NOISE * rng.standard_normal(CASES)
        low, high = t_interval(values.mean()[None], weighted_means(weights, values[:, None]), relations)
        hits += bool(low[0] <= truth.max() <= high[0] + selection_regret(tried, rng))
    return Rate(hits, runs)


BETWEEN_SIZES, BETWEEN_SEEDS = 0.03, 0.02  # sd of a difference between runs


def coverage_compare(sizes: int, seeds: int, runs: int, relations: int = 10, seed: int = 0) -> Rate:
    """How often `compare` holds the true difference of two runs over `sizes` of `seeds` models on the same CASES.

    The truth is that of all sizes and cases; of fewer than three models it is that of these models.
    """
    rng = np.random.default_rng([seed, sizes, seeds, 3])
    code, weights = _drawn(relations, seed)
    few = (sizes if sizes > 1 else seeds) < 3
    hits = 0
    for _ in range(runs):
        case = 0.05 * rng.standard_normal(relations)[code] + NOISE / 3 * rng.standard_normal(CASES)
        mean = np.repeat(BETWEEN_SIZES * rng.standard_normal(sizes) * (sizes > 1), seeds)
        mean = mean + BETWEEN_SEEDS * rng.standard_normal(sizes * seeds)
        values = mean + case[:, None] + NOISE * rng.standard_normal((CASES, sizes * seeds))
        gaps = [drawn.T for drawn in np.split(weighted_means(weights, values), sizes, axis=1)]
        each = values.mean(axis=0).reshape(sizes, seeds)
        low, high = difference_interval(each[0] if sizes == 1 else each.mean(axis=1), gaps, relations)
        hits += bool(low <= (float(mean.mean()) if few else 0.0) <= high)
    return Rate(hits, runs)
