"""Rungs that differ only in their training seed are one size: their spread is the variance that more facts cannot
remove.

A score y of one model is mu(size) + b + e: b the luck of its training, variance tau^2, and e the error from finitely
many cases, variance se^2 (bootstrap). Cases are the same at every rung, so e has a part common to all rungs. That part
moves the whole curve and no shape; it hides from the differences between seeds, so tau^2 comes out that much too small,
and se^2 + tau^2 is never below the variance that matters for a shape.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_SEED = re.compile(r"-s\d+$")


def size_of(rung: str) -> str:
    """What the seeds of one rung share: `gpt2-1x64-s2` and `gpt2-1x64` are of size gpt2-1x64."""
    return _SEED.sub("", rung)


@dataclass(frozen=True)
class SeedVariance:
    """tau^2 between seeds (NaN: no size has two seeds, so it is unknown) and the degrees of freedom behind it."""

    tau2: float
    df: int

    @property
    def known(self) -> bool:
        return self.df > 0


def between_seeds(values: ArrayLike, se2: ArrayLike, sizes: Sequence[str]) -> SeedVariance:
    """tau^2 by the method of moments, pooled over sizes: the mean variance within sizes less the mean se^2, at least 0.

    Hedges' unweighted estimator (1983): unbiased before the floor at 0, and at ease with se^2 = 0.

    Args:
        values, se2, sizes: of each model; NaN values take no part.
    """
    y, error, size = np.asarray(values, float), np.asarray(se2, float), np.asarray(sizes, dtype=object)
    squares = excess = 0.0
    df = 0
    for name in sorted(set(size[~np.isnan(y)])):
        members = (size == name) & ~np.isnan(y)
        m = int(members.sum())
        squares += float(((y[members] - y[members].mean()) ** 2).sum())
        excess += (m - 1) * float(error[members].mean())
        df += m - 1
    return SeedVariance(max(0.0, (squares - excess) / df) if df else np.nan, df)


@dataclass(frozen=True)
class Points:
    """A curve to test, one point per size in order of strength.

    Attributes:
        sizes: names. x: (n,) strengths. y: (n,) mean scores over seeds.
        variance: (n,) of y: (mean se^2 + tau^2) / seeds; without tau^2 where that is unknown.
        seeds: (n,) models behind each point.
        between: tau^2 and its degrees of freedom.
    """

    sizes: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray
    variance: np.ndarray
    seeds: np.ndarray
    between: SeedVariance

    @property
    def df(self) -> float:
        """Degrees of freedom of the variances; infinite where they are taken as given."""
        return float(self.between.df) if self.between.known else np.inf


def points(x: ArrayLike, values: ArrayLike, se2: ArrayLike, rungs: Sequence[str]) -> Points:
    """Models -> sizes, in order of strength; models without a strength or a score are left out.

    A size with one seed borrows the tau^2 of the others.
    """
    strength, y, error = (np.asarray(a, float) for a in (x, values, se2))
    keep = ~(np.isnan(strength) | np.isnan(y) | np.isnan(error))
    strength, y, error = strength[keep], y[keep], error[keep]
    size = np.array([size_of(rung) for rung, k in zip(rungs, keep, strict=True) if k], dtype=object)
    between = between_seeds(y, error, list(size))
    tau2 = between.tau2 if between.known else 0.0
    lines = []
    for name in dict.fromkeys(size):
        members = size == name
        m = int(members.sum())
        lines.append(
            (
                float(strength[members].mean()),
                name,
                float(y[members].mean()),
                (float(error[members].mean()) + tau2) / m,
                m,
            )
        )
    lines.sort()
    columns = list(zip(*lines, strict=True)) or [()] * 5
    return Points(tuple(columns[1]), np.array(columns[0], float), np.array(columns[2], float),
                  np.array(columns[3], float), np.array(columns[4], int), between)  # fmt: skip
