"""Coverage of intervals: of one setting's score, of what a rung makes available, and of differences between runs."""

from __future__ import annotations

import numpy as np

from valley.statistics import draw_weights, selection_regret, t_interval, weighted_means
from valley.verdicts import Rate

CASES, DRAWS = 120, 400
NOISE = 0.3  # sd of a case's score


def coverage(relations: int, shared: float, runs: int, seed: int = 0) -> Rate:
    """How often the 95% interval of a mean over cases in `relations`, with sd `shared` between relations, holds the
    truth."""
    rng = np.random.default_rng([seed, relations, int(1000 * shared)])
    code = np.arange(CASES) % relations
    weights = draw_weights([f"r{i}" for i in code], DRAWS, [seed, relations])
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
    code = np.arange(CASES) % relations
    weights = draw_weights([f"r{i}" for i in code], DRAWS, [seed, relations])
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
