"""What choosing a setting on few development cases costs: the best setting's true score less that of the chosen one."""

from __future__ import annotations

import numpy as np

from editing.lazy import stats


def selection_regret(dev: np.ndarray, rng: np.random.Generator, quantile: float = 0.975, draws: int = 200) -> float:
    """An upper value of the regret of choosing the highest mean among settings.

    Parametric bootstrap of the choice: true means are drawn around the observed ones, shrunken to their common mean
    by the share of their spread that is noise (Stein), with the error that is left after shrinking; the regret of a
    draw is its highest mean less the chosen setting's.

    Args:
        dev: (cases, settings) scores; cases are the same for all settings. quantile: of the draws.
    """
    n, k = dev.shape
    if k < 2 or n < 2:
        return float("nan") if k > 1 else 0.0
    means = dev.mean(axis=0)
    residual = dev - dev.mean(axis=1, keepdims=True) - means + means.mean()
    error = float((residual**2).sum() / ((n - 1) * (k - 1))) / n  # variance of one mean, without what cases share
    # An upper value: few cases often show no spread between settings at all, which is no sign that there is none.
    signal = max(0.0, float(means.var(ddof=1)) * (k - 1) / float(stats.chi2.ppf(0.1, k - 1)) - error)
    share = signal / (signal + error) if signal + error > 0 else 0.0
    centre = means.mean() + share * (means - means.mean())
    truth = centre + np.sqrt(share * error) * rng.standard_normal((draws, k))
    return float(np.quantile(truth.max(axis=1) - truth[:, int(means.argmax())], quantile))
