"""How well each family explains the rungs: log-likelihood with known variances, AICc, BIC, weights,
leave-one-rung-out."""

from __future__ import annotations

import numpy as np

from editing.lazy import pandas as pd
from valley.statistics.families import FAMILIES, fit, standardised

COLUMNS = ("family", "k", "log_likelihood", "aicc", "bic", "weight_aicc", "weight_bic", "left_out")


def log_density(residual: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """log N(residual; 0, variance), elementwise."""
    return -0.5 * (np.log(2 * np.pi * variance) + residual**2 / variance)


def compare(x: np.ndarray, y: np.ndarray, variance: np.ndarray) -> pd.DataFrame:
    """One line per family: COLUMNS.

    AICc = -2 log L + 2k + 2k(k+1)/(n-k-1) (Hurvich and Tsai 1989), BIC = -2 log L + k log n (Schwarz 1978); both are
    NaN for n <= k + 1. Weights exp(-difference/2), normalised over all families (Burnham and Anderson 2002); NaN where
    a family
    has no criterion: among a part of the families a decline wins on a valley. As the variances are known, BIC needs no
    small-sample term; AICc's is stricter than it has to be here. `left_out` is the mean over rungs of the log density
    of a rung under the fit to all others; NaN for n <= k + 1.

    Args:
        x: (n,) strengths. y: (n,) scores. variance: (n,) of the scores, se^2 + tau^2.
    """
    x, y, variance = standardised(x), np.asarray(y, float), np.asarray(variance, float)
    n, lines = len(x), []
    every = 1 / variance
    # Row 0 keeps all rungs, row i leaves rung i-1 out.
    weights = np.vstack([every, every * (1 - np.eye(n))])
    for family in FAMILIES:
        k = family.n_parameters
        fitted = fit(family, x, y, weights)
        log_likelihood = log_density(y - fitted.mean[0], variance).sum()
        line = {"family": family.name, "k": k, "log_likelihood": log_likelihood}
        if n > k + 1:
            line["aicc"] = -2 * log_likelihood + 2 * k + 2 * k * (k + 1) / (n - k - 1)
            line["bic"] = -2 * log_likelihood + k * np.log(n)
            line["left_out"] = log_density(y - np.diagonal(fitted.mean[1:]), variance).mean()
        lines.append(line)
    table = pd.DataFrame(lines).reindex(columns=list(COLUMNS))
    for criterion in ("aicc", "bic"):
        relative = np.exp(-0.5 * (table[criterion] - table[criterion].min()))
        table[f"weight_{criterion}"] = relative / relative.sum(skipna=False)
    return table.astype(dict.fromkeys(COLUMNS[2:], "float64"))


def bic_weights(x: np.ndarray, y: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """`weight_bic` of `compare` for several curves at once: (curves, n) scores and variances -> (curves, families)."""
    x, y, variance = standardised(x), np.asarray(y, float), np.asarray(variance, float)
    n, criteria = len(x), np.full((len(y), len(FAMILIES)), np.nan)
    for i, family in enumerate(FAMILIES):
        if n > family.n_parameters + 1:
            # The part of the likelihood that all families share does not matter for weights.
            criteria[:, i] = fit(family, x, y, 1 / variance).chi2 + family.n_parameters * np.log(n)
    relative = np.exp(-0.5 * (criteria - criteria.min(axis=1, keepdims=True)))
    return relative / relative.sum(axis=1, keepdims=True)
