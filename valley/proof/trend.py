"""Whether a score follows a dial that was planted, and how fine the instrument is: trend and resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import page_trend_test
from scipy.stats import t as student

from editing.lazy import pandas as pd

LEVEL = 0.05


@dataclass(frozen=True)
class Trend:
    """How a score answers to a dial.

    Attributes:
        levels: (k,) values of the dial, rising. means: (k,) mean over seeds. seeds: number at every level.
        sd: standard deviation between seeds, pooled over the levels.
        monotone: whether the means never turn back.
        p: of Page's trend test in the direction of the means' ends (two-sided: doubled); NaN below 3 levels or 2 seeds.
        detectable: difference of two means that n seeds each would show 80% of the time at level .05, in the score.
        resolution: smallest step of the dial between neighbouring levels that was distinguished at level .05 (Welch's
            pooled t, uncorrected); NaN where none was.
    """

    levels: tuple[float, ...]
    means: tuple[float, ...]
    seeds: int
    sd: float
    monotone: bool
    p: float
    detectable: float
    resolution: float


def trend(table: pd.DataFrame, dial: str, score: str) -> Trend:
    """The trend of one score.

    Args:
        table: one line per model: `dial`, `seed` and `score`. Several models of one level and seed are averaged; seeds
            that lack a level are left out of Page's test, not of the means.

    Raises:
        ValueError: no line has a score.
    """
    lines = table.dropna(subset=[score]).groupby([dial, "seed"])[score].mean().reset_index()
    if lines.empty:
        raise ValueError(f"no line has {score}")
    levels = np.sort(lines[dial].unique())
    groups = [lines.loc[lines[dial] == level, score].to_numpy(float) for level in levels]
    means = np.array([group.mean() for group in groups])
    numbers = np.array([len(group) for group in groups])
    freedom = int((numbers - 1).sum())
    squares = sum(((group - group.mean()) ** 2).sum() for group in groups)
    sd = float(np.sqrt(squares / freedom)) if freedom else float("nan")
    steps = np.diff(means)
    return Trend(
        tuple(map(float, levels)),
        tuple(map(float, means)),
        int(numbers.min()),
        sd,
        bool((steps >= 0).all() or (steps <= 0).all()),
        _page(lines, dial, score, rising=bool(means[-1] >= means[0])),
        _detectable(sd, int(numbers.min()), freedom),
        _resolution(levels, means, numbers, sd, freedom),
    )


def _page(lines: pd.DataFrame, dial: str, score: str, rising: bool) -> float:
    """Two-sided p of Page's test: seeds are the subjects, levels the treatments (Page 1963)."""
    wide = lines.pivot_table(index="seed", columns=dial, values=score).dropna()
    if wide.shape[0] < 2 or wide.shape[1] < 3:
        return float("nan")
    ranks = wide.to_numpy() if rising else wide.to_numpy()[:, ::-1]
    return float(min(1.0, 2 * page_trend_test(ranks).pvalue))


def _detectable(sd: float, seeds: int, freedom: int) -> float:
    """Difference of two means of `seeds` models each with a power of 80% in a two-sided t test, by its usual
    approximation: the sum of two quantiles times the standard error."""
    if freedom < 1 or not np.isfinite(sd):
        return float("nan")
    quantiles = student.ppf(1 - LEVEL / 2, freedom) + student.ppf(0.8, freedom)
    return float(quantiles * sd * np.sqrt(2 / seeds))


def _resolution(levels: np.ndarray, means: np.ndarray, numbers: np.ndarray, sd: float, freedom: int) -> float:
    if freedom < 1 or not sd > 0:
        return float("nan")
    errors = sd * np.sqrt(1 / numbers[:-1] + 1 / numbers[1:])
    p = 2 * student.sf(np.abs(np.diff(means)) / errors, freedom)
    apart = np.diff(levels)[p < LEVEL]
    return float(apart.min()) if len(apart) else float("nan")


def trend_table(table: pd.DataFrame, dial: str, scores: Sequence[str]) -> pd.DataFrame:
    """One line per score: the fields of `Trend`, a column per level."""
    lines = []
    for score in scores:
        if table[score].notna().any():
            one = trend(table, dial, score)
            line: dict[str, object] = {"score": score, "seeds": one.seeds}
            line |= {f"{dial} {level:g}": mean for level, mean in zip(one.levels, one.means, strict=True)}
            line |= {"sd": one.sd, "monotone": one.monotone, "page_p": one.p}
            lines.append(line | {"detectable": one.detectable, "resolution": one.resolution})
    return pd.DataFrame(lines)


def format_trends(table: pd.DataFrame) -> str:
    """`trend_table` as text."""
    return table.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="n/a")
