"""The curve families: mean functions of strength with few, bounded parameters, fitted by weighted least squares.

Every family is linear in its coefficients once one or two shape parameters are fixed (variable projection; Golub and
Pereyra 1973). The shape parameters run over a fixed grid and the coefficients are solved exactly at each point, so a
fit is deterministic and cannot be caught in a local minimum. Strength is standardised to [0, 1] beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Family:
    """A named mean function.

    Attributes:
        name: what the verdict calls it.
        n_parameters: k of AICc and BIC: coefficients and shape parameters.
        design: (n,) strengths in [0, 1] -> (grid, n, p) basis values; the first column is the constant.
        sign: of the second coefficient: 1 or -1 where the name demands it, 0 where it is free.
    """

    name: str
    n_parameters: int
    design: Callable[[np.ndarray], np.ndarray]
    sign: int = 0


@dataclass(frozen=True)
class Fit:
    """The best member of a family for each of s weightings: means (s, n) and weighted residual sums of squares (s,)."""

    mean: np.ndarray
    chi2: np.ndarray


def standardised(x: np.ndarray) -> np.ndarray:
    """`x` moved and scaled to [0, 1]; zeros where all are equal."""
    x = np.asarray(x, float)
    span = np.ptp(x) if len(x) else 0.0
    return (x - x.min()) / span if span > 0 else np.zeros_like(x)


def _grid(*axes: np.ndarray) -> list[np.ndarray]:
    return [axis.reshape(-1, 1) for axis in np.meshgrid(*axes, indexing="ij")]


def _with_constant(*columns: np.ndarray) -> np.ndarray:
    full = np.broadcast_arrays(*columns)
    return np.stack([np.ones_like(full[0]), *full], axis=-1)


def _constant(x: np.ndarray) -> np.ndarray:
    return np.ones((1, len(x), 1))


def _decline(x: np.ndarray) -> np.ndarray:
    (rate,) = _grid(np.geomspace(0.5, 30, 40))
    return _with_constant(np.exp(-rate * x))


def _logistic(x: np.ndarray) -> np.ndarray:
    middle, width = _grid(np.linspace(0, 1, 31), np.geomspace(0.02, 0.4, 10))
    return _with_constant(1 / (1 + np.exp(-(x - middle) / width)))


def _bell(x: np.ndarray) -> np.ndarray:
    middle, width = _grid(np.linspace(0.1, 0.9, 33), np.geomspace(0.05, 0.4, 10))
    return _with_constant(np.exp(-0.5 * ((x - middle) / width) ** 2))


def _four_phase(x: np.ndarray) -> np.ndarray:
    (warp,) = _grid(np.geomspace(0.5, 2, 41))
    return _with_constant(np.cos(3 * np.pi * x**warp), x)


FAMILIES: tuple[Family, ...] = (
    Family("constant", 1, _constant),
    Family("exponential", 3, _decline, 1),
    Family("logistic", 4, _logistic),
    Family("hump", 4, _bell, 1),
    Family("valley", 4, _bell, -1),
    Family("four-phase", 4, _four_phase, 1),  # high, low, high, low: one and a half warped periods on a slope
)


def fit(family: Family, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Fit:
    """Weighted least squares of `family`.

    Args:
        x: (n,) strengths in [0, 1]. y: (n,) scores, or (s, n) of as many curves.
        weights: (s, n) inverse variances; a weight of 0 leaves a rung out (its mean is then a prediction).
    """
    basis = family.design(x)
    best = _solve(basis, y, weights)
    if family.sign:
        # With one bounded coefficient the optimum is either free or on the bound, where that column is gone.
        mean, chi2, coefficient = best
        bound_mean, bound_chi2, _ = _solve(np.delete(basis, 1, axis=-1), y, weights)
        wrong = coefficient * family.sign < 0
        best = np.where(wrong[..., None], bound_mean, mean), np.where(wrong, bound_chi2, chi2), coefficient
    mean, chi2, _ = best
    at = chi2.argmin(axis=1)
    rows = np.arange(len(weights))
    return Fit(mean[rows, at], chi2[rows, at])


def _solve(basis: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every weighting and grid point: means (s, g, n), chi2 (s, g), the second coefficient (s, g; 0 if none)."""
    normal = np.einsum("gnp,sn,gnq->sgpq", basis, weights, basis, optimize=True)
    right = np.einsum("gnp,sn->sgp", basis, weights * y, optimize=True)
    p = basis.shape[-1]
    # A basis column may vanish on these rungs; the ridge then sets its coefficient to zero.
    ridge = 1e-10 * np.trace(normal, axis1=-2, axis2=-1)[..., None, None] * np.eye(p)
    beta = np.linalg.solve(normal + ridge, right[..., None])[..., 0]
    mean = np.einsum("gnp,sgp->sgn", basis, beta, optimize=True)
    chi2 = ((np.broadcast_to(y, weights.shape)[:, None, :] - mean) ** 2 * weights[:, None, :]).sum(axis=-1)
    return mean, chi2, beta[..., 1] if p > 1 else np.zeros(chi2.shape)
