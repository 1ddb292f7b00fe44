"""Every score of a group of cases, as the cases are and as each bootstrap draw has them, and the intervals of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from editing.lazy import pandas as pd
from valley.rows import CASE, GENERALISATION, METRICS, NET, PROBE_KINDS, RowsError
from valley.scores.composites import CASE_COLUMNS, Composite, Means, composites, fails_gates
from valley.statistics import draw_weights, interval_of_equals, t_interval, weighted_means

PARTS = (*PROBE_KINDS, *CASE_COLUMNS)  # what composites are made of
BASE = (*PARTS, NET)  # means of case scores, from which METRICS and COMPOSITES follow
_OF_EDIT, _OF_PLACEBO = pd.Index(BASE), pd.Index(PARTS)  # made once: pandas makes it of a list of names in every call
COMPOSITES = tuple(one.name for one in composites())
EQUAL = 1e-9  # a narrower interval has no width but that of rounding


def gated(one: Composite, means: Means, failed: np.ndarray | bool) -> np.ndarray:
    """(n,) of the composite, 0 where a gate is failed; NaN stays."""
    made = one(means)
    return np.where(failed & ~np.isnan(made), 0.0, made) if one.gated else made


class Resampler:
    """Bootstrap weights of every case of a run, drawn once, so that all rungs and settings see the same draws.

    Edit kinds are resampled each on their own (their cases are never exchanged), cases within relations.
    """

    def __init__(self, scores: pd.DataFrame, draws: int, seed: int) -> None:
        if draws < 0:
            raise RowsError(f"draws is {draws}; give 0 (no intervals) or more")
        self.draws = draws
        parts, pairs = [], []
        cases = scores.drop_duplicates("pair").sort_values(["ladder", "edit_kind", "cluster", *CASE], kind="stable")
        for (ladder, kind), part in cases.groupby(["ladder", "edit_kind"], observed=True):
            pairs.append(part["pair"].to_numpy())
            parts.append(draw_weights(part["cluster"].tolist(), draws, [seed, *f"{ladder}/{kind}".encode()]))
        order = np.argsort(np.concatenate(pairs)) if pairs else np.zeros(0, dtype=int)
        self._pairs = np.concatenate(pairs)[order] if pairs else np.zeros(0, dtype=int)
        # (cases, draws), so that the weights of some cases are whole lines
        self._weights = (np.concatenate(parts, axis=1) if parts else np.zeros((draws, 0))).T[order]

    def weights(self, part: pd.DataFrame) -> np.ndarray:
        """(draws, len(part)): how often each case of `part`, lines of the scores that this was made of, is drawn."""
        return self._weights[np.searchsorted(self._pairs, part["pair"].to_numpy())].T

    def draw(self, part: pd.DataFrame, placebo: pd.DataFrame | None = None) -> Drawn:
        """The cases of one group, at least one, and every bootstrap draw of them; beside their placebo edits."""
        noise = None if placebo is None or placebo.empty else self._means(placebo, _OF_PLACEBO)
        return Drawn(self._means(part, _OF_EDIT), noise, len(part))

    def _means(self, part: pd.DataFrame, columns: pd.Index) -> tuple[np.ndarray, np.ndarray]:
        """(1, k) means and (draws, k) bootstrapped means of `columns`."""
        values = part[columns].to_numpy(dtype="float64")
        return weighted_means(np.ones((1, len(part))), values), weighted_means(self.weights(part), values)


@dataclass(frozen=True)
class Drawn:
    """One group as its cases are and as each bootstrap draw has them: the means that all its scores are made of.

    Every score is an estimate (k,) and its samples (draws, k).

    Attributes:
        values: means of BASE, (1, k) of the cases and (draws, k). placebo: of PARTS of the placebo edits, or None.
        cases: how many there are.
    """

    values: tuple[np.ndarray, np.ndarray]
    placebo: tuple[np.ndarray, np.ndarray] | None = None
    cases: int = 0

    @cached_property
    def _named(self) -> list[Means]:
        placebo = self.placebo or (None, None)
        return [named_means(means[:, :-1], noise) for means, noise in zip(self.values, placebo, strict=True)]

    @cached_property
    def _failed(self) -> bool:
        """Whether the estimate fails a gate."""
        return bool(fails_gates(self._named[0])[0])

    def metrics(self, one: Composite) -> tuple[np.ndarray, np.ndarray]:
        """METRICS by the composite `one`."""
        pairs = zip(self._named, self.values, strict=True)
        point, samples = (_metrics(one, named, means[:, -1], self._failed) for named, means in pairs)
        return point[0], samples

    def kinds(self) -> tuple[np.ndarray, np.ndarray]:
        """PROBE_KINDS, those of generalisation above placebo where there is one."""
        net = () if self.placebo is None else GENERALISATION
        point, samples = (
            np.column_stack([named.net(kind) if kind in net else named.values[kind] for kind in PROBE_KINDS])
            for named in self._named
        )
        return point[0], samples

    def composites(self) -> tuple[np.ndarray, np.ndarray]:
        """COMPOSITES, 0 where a gate fails."""
        point, samples = (
            np.column_stack([gated(one, named, self._failed) for one in composites()]) for named in self._named
        )
        return point[0], samples


def named_means(means: np.ndarray, placebo: np.ndarray | None) -> Means:
    named = [{} if one is None else {name: one[:, at] for at, name in enumerate(PARTS)} for one in (means, placebo)]
    return Means(*named)


def _metrics(one: Composite, means: Means, net: np.ndarray, failed: bool) -> np.ndarray:
    """(n, len(METRICS)): probe kinds as they are, the transfer floored at 0, the sides of the composite and itself."""
    sides = (*one.parts(means), gated(one, means, failed))
    return np.column_stack([*(means.values[kind] for kind in PROBE_KINDS), np.maximum(net, 0), *sides])


def composites_of(means: pd.DataFrame) -> np.ndarray:
    """(lines, len(COMPOSITES)) of lines that `group_means` gave, without placebo: what is above placebo is NaN."""
    named = named_means(means.reindex(columns=list(PARTS)).to_numpy(dtype="float64"), None)
    failed = fails_gates(named)
    return np.column_stack([gated(one, named, failed) for one in composites()])


def kind_mean(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Unweighted mean over edit kinds of (estimates, samples).

    A metric measured for some kinds only is the mean of those; generalisation, specificity and score need every kind.
    """
    strict = [METRICS.index(m) for m in ("generalisation", "specificity", "score")]
    out = []
    for arrays in ([p for p, _ in parts], [s for _, s in parts]):
        total = _nanmean(np.stack(arrays))
        total[..., strict] = np.stack(arrays)[..., strict].mean(axis=0)
        out.append(total)
    return out[0], out[1]


def _nanmean(stack: np.ndarray) -> np.ndarray:
    present = ~np.isnan(stack)
    count = present.sum(axis=0)
    total = np.where(present, stack, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def units_of(part: pd.DataFrame) -> int:
    """What the bootstrap of these cases draws: their relations, or the cases where all are of one relation."""
    relations = part["cluster"].nunique()
    return relations if relations > 1 else len(part)


def bounds(
    samples: np.ndarray,
    units: int,
    cases: int,
    centre: np.ndarray | None = None,
    least: ArrayLike = 0.0,
    most: ArrayLike = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """95% interval of each metric (draws, k), by Student's t over the units that were drawn; NaN from fewer than two.

    It lies around `centre` (k,), or the mean of the draws. Where all draws are the same, so are the cases, which states
    no spread: there the interval is what so many equal cases allow (`interval_of_equals`), not a single point.
    What lies outside [least, most] (numbers, or (k,)), where no value of the score can be, is cut off; no true value is
    lost by that.
    """
    mean = np.nansum(samples, axis=0) / np.maximum(np.isfinite(samples).sum(axis=0), 1) if centre is None else centre
    low, high = t_interval(mean, samples, units)
    of_equals = interval_of_equals(mean, max(cases, 1), least, most)
    low, high = (np.where(high - low < EQUAL, *pair) for pair in zip(of_equals, (low, high), strict=True))
    return np.clip(low, least, most), np.clip(high, least, most)
