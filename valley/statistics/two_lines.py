"""Two-lines test of a U shape, for comparison with prominence (Simonsohn 2018, "Two lines: a valid alternative to the
invalid testing of U-shaped relationships with quadratic regressions").

The break is set by the paper's Robin Hood rule; its smoothing spline is replaced by a quadratic, as a ladder has few
rungs, and its standard errors by the known variances.
"""

from __future__ import annotations

import numpy as np

from editing.lazy import stats


def _regress(basis: np.ndarray, y: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted least squares with known variances: coefficients and their covariance."""
    weighted = basis / variance[:, None]
    covariance = np.linalg.pinv(basis.T @ weighted)
    return covariance @ weighted.T @ y, covariance


def _slopes(x: np.ndarray, y: np.ndarray, variance: np.ndarray, at: float) -> np.ndarray:
    """z of the slopes up to and after the break; 0 where a side has fewer than two strengths to draw a line through."""
    low = x <= at
    basis = np.column_stack([np.ones_like(x), (x - at) * low, (x - at) * ~low, ~low])
    beta, covariance = _regress(basis, y, variance)
    enough = np.array([len(set(x[low])) >= 2, len(set(x[~low])) >= 2])
    se = np.sqrt(np.maximum(np.diag(covariance)[1:3], 0))
    return np.where(enough & (se > 0), beta[1:3] / np.where(se > 0, se, 1), 0.0)


def two_lines(x: np.ndarray, y: np.ndarray, variance: np.ndarray) -> float:
    """p of a U: the larger of the two-sided p-values of a falling line before and a rising line after the break.

    1 where the slopes do not fall and then rise; NaN with fewer than five rungs.
    """
    x, y, variance = (np.asarray(a, float) for a in (x, y, variance))
    if len(x) < 5:
        return np.nan
    basis = np.column_stack([np.ones_like(x), x, x**2])
    beta, covariance = _regress(basis, y, variance)
    fitted = basis @ beta
    se = np.sqrt(np.einsum("np,pq,nq->n", basis, covariance, basis))
    inner = fitted[1:-1]
    lowest = 1 + int(inner.argmin())
    flat = x[fitted <= fitted[lowest] + se[lowest]]
    first = np.abs(_slopes(x, y, variance, float(np.median(flat))))
    share = first[1] / first.sum() if first.sum() > 0 else 0.5
    z = _slopes(x, y, variance, float(np.quantile(flat, share)))
    return float(2 * stats.norm.sf(np.abs(z)).max()) if z[0] < 0 < z[1] else 1.0
