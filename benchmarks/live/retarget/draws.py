"""The bootstrap of one retargeting: relations are redrawn, then the questions inside each drawn relation."""

from __future__ import annotations

import numpy as np

DRAWS = 1000


def draw_weights(relation: np.ndarray, seed: int) -> np.ndarray:
    """(DRAWS, n): how often each question is drawn when relations are redrawn, then the questions in them."""
    rng = np.random.default_rng([seed, 3])
    names, code, sizes = np.unique(relation, return_inverse=True, return_counts=True)
    weights = np.zeros((DRAWS, len(relation)))
    if len(names):
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
        for i, size in enumerate(sizes):
            weights[:, code == i] = rng.multinomial(times[:, i] * size, np.full(size, 1 / size))
    return weights


def interval(samples: np.ndarray, relations: int) -> tuple[float, float]:
    """95% percentile interval; NaN from one relation, or where more than half of the draws tell nothing."""
    if relations < 2 or np.isnan(samples).mean() > 0.5:
        return np.nan, np.nan
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return float(low), float(high)
