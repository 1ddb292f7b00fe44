"""Models -> one point per size with the variance that matters for a curve's shape.

Rungs that differ only in their training seed are one size. The score of seed s of size j is

    y_js = common + mu_j + f_j + b_js,      var(f_j) = fact part of j, var(b_js) = model part of j

`common`: which facts were sampled, the same at every rung: it moves the whole curve and no shape. f_j: facts that are
hard or easy at this size only, shared by the seeds of the size, so that more seeds do not shrink it. b_js: the luck of
one training (tau^2) and the error of its answers. The bootstrap draws the same facts at every rung, so its samples
say how the error of a mean divides into the three; the spread between seeds says how large b is.

Between two or three seeds a variance is known badly. That of each size is shrunken towards the pool of all sizes:

    v_j = (PRIOR v_pool + d_j s_j^2) / (PRIOR + d_j),     d_j = seeds - 1

an empirical Bayes estimate (Smyth 2004, "Linear models and empirical Bayes methods", equation 3), PRIOR fixed because a
dozen sizes do not tell it: as small as keeps one size of four times the luck from naming shapes (results/calibration).
Only this part is estimated, so only it is stretched by Student's argument when errors are drawn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from valley.statistics.prominence import FLOOR, Errors

_SEED = re.compile(r"-s\d+$")
PRIOR = 4.0  # degrees of freedom of the pool in the variance of one size


def size_of(rung: str) -> str:
    """What the seeds of one rung share: `gpt2-1x64-s2` and `gpt2-1x64` are of size gpt2-1x64."""
    return _SEED.sub("", rung)


@dataclass(frozen=True)
class SeedVariance:
    """tau^2 between seeds, mean over sizes (NaN: no size has two seeds, so it is unknown), and its degrees of
    freedom."""

    tau2: float
    df: int

    @property
    def known(self) -> bool:
        return self.df > 0


@dataclass(frozen=True)
class Points:
    """A curve to test, one point per strength in order. Sizes of equal strength have no order, so they are one point.

    Attributes:
        sizes: names, those of equal strength joined. x: (n,) strengths. y: (n,) mean scores over seeds.
        variance: (n,) of y. known: (n,) the part of it that the bootstrap states; the rest comes from the seeds.
        seeds: (n,) models behind each point. df: (n,) degrees of freedom between seeds of a size.
        between: tau^2 and its degrees of freedom.
    """

    sizes: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray
    variance: np.ndarray
    known: np.ndarray
    seeds: np.ndarray
    df: np.ndarray
    between: SeedVariance

    def errors(self, draws: int, seed: Sequence[int]) -> Errors:
        """Errors of a parametric bootstrap of this curve; stretched where variances are estimated."""
        return drawn_errors(self.df, draws, seed)


def drawn_errors(df: ArrayLike, draws: int, seed: Sequence[int]) -> Errors:
    """Standardised errors of sizes with `df` (n,) degrees of freedom between their seeds.

    The pool of the variances is uncertain by the sum of `df`, for all sizes together. All 0: taken as given.
    """
    df = np.asarray(df, float)
    rng = np.random.default_rng(list(seed))
    z = rng.standard_normal((draws, len(df)))
    pooled = df.sum()
    factor = pooled / rng.chisquare(pooled, size=(draws, 1)) if pooled else np.ones((draws, 1))
    return Errors(z, np.broadcast_to(factor, z.shape))


def moderated(spread: np.ndarray, df: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances of one model at every size, shrunken to their pool.

    Args:
        spread: (..., n) variances between the seeds of a size; any number where df is 0.
        df: (n,) their degrees of freedom; at least one is above 0.

    Returns:
        (..., n) shrunken variances, (...,) the pool.
    """
    pool = (spread * df).sum(axis=-1) / df.sum()
    return (PRIOR * pool[..., None] + df * np.where(df > 0, spread, 0.0)) / (PRIOR + df), pool


def size_variance(
    spread: np.ndarray, seeds: np.ndarray, facts: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance of the mean over seeds of every size: (..., n) in all, (..., n) the known part, (...,) mean tau^2.

    Args:
        spread: (..., n) variance between seeds. seeds: (n,) models of a size.
        facts: (..., n) variance by facts that all seeds of a size share. own: (..., n) error of one model's answers.
    """
    df = seeds - 1
    if not df.any():
        return facts + own / seeds, facts + own / seeds, np.full(spread.shape[:-1], np.nan)
    model, pool = moderated(spread, df)
    tau2 = np.maximum(0.0, pool - (own * df).sum(axis=-1) / df.sum())
    return facts + np.maximum(model, own) / seeds, np.broadcast_to(facts, model.shape), tau2


def fact_parts(samples: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """From bootstrap samples the variance that the seeds of a size share, without what all sizes share, and the error
    of one model's own answers: two arrays (n,).

    Args:
        samples: for each size (seeds, draws), drawn from the same facts everywhere.
    """
    n = len(samples)
    means = np.stack([np.asarray(drawn, float).mean(axis=0) for drawn in samples])
    own = np.full(n, np.nan)
    for i, drawn in enumerate(samples):
        if len(drawn) > 1:
            own[i] = np.var(drawn - means[i], axis=1).sum() / (len(drawn) - 1)
    pool = np.nanmean(own) if np.isfinite(own).any() else 0.0
    own = np.where(np.isnan(own), pool, own)
    if n < 3:
        return np.var(means, axis=1), own
    # var(e_j - mean e) of independent e is (1 - 2/n) var(e_j) + (mean variance)/n: solved for var(e_j).
    apart = np.var(means - means.mean(axis=0), axis=1)
    whole = (apart - apart.sum() / (n * (n - 1))) / (1 - 2 / n)
    return np.maximum(0.0, whole - own / np.array([len(drawn) for drawn in samples])), own


def points(x: ArrayLike, values: ArrayLike, samples: ArrayLike, rungs: Sequence[str]) -> Points:
    """Models -> sizes, in order of strength; models without a strength, a score or samples are left out.

    Args:
        x, values: (models,). samples: (models, draws) of the bootstrap over facts. rungs: names.
    """
    strength, y, drawn = np.asarray(x, float), np.asarray(values, float), np.asarray(samples, float)
    measured = np.isfinite(strength) & np.isfinite(y) & (np.isfinite(drawn).sum(axis=1) > drawn.shape[1] / 2)
    if measured.any():
        drawn = drawn[:, ~np.isnan(drawn[measured]).any(axis=0)]  # draws that every model has
    keep = measured & (drawn.shape[1] > 1)
    size = np.array([size_of(rung) for rung in rungs], dtype=object)
    groups = [np.flatnonzero(keep & (size == name)) for name in dict.fromkeys(size[keep])]
    groups.sort(key=lambda members: (strength[members].mean(), size[members[0]]))
    if not groups:
        nothing = np.zeros(0)
        return Points((), nothing, nothing, nothing, nothing, np.zeros(0, int), nothing, SeedVariance(np.nan, 0))
    seeds = np.array([len(members) for members in groups])
    spread = np.array([np.var(y[m], ddof=1) if len(m) > 1 else 0.0 for m in groups])
    facts, own = fact_parts([drawn[m] for m in groups])
    variance, known, tau2 = size_variance(spread, seeds, facts, own)
    at = np.array([strength[m].mean() for m in groups])
    order, place = np.unique(at, return_inverse=True)
    tied = (place == np.arange(len(order))[:, None]).astype(float)  # (strengths, sizes)
    share = tied / tied.sum(axis=1, keepdims=True)
    total = np.maximum(share**2 @ variance, FLOOR)
    names = [str(size[m[0]]) for m in groups]
    return Points(
        tuple("+".join(name for name, inside in zip(names, row, strict=True) if inside) for row in tied),
        order,
        share @ np.array([y[m].mean() for m in groups]),
        total,
        np.minimum(share**2 @ known, total),
        (tied @ seeds).astype(int),
        (tied @ (seeds - 1)).astype(int),
        SeedVariance(float(tau2), int((seeds - 1).sum())),
    )
