"""Every score of a group of cases, as the cases are and as each bootstrap draw has them, and the intervals of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import CASE, GENERALISATION, METRICS, NET, PROBE_KINDS, RowsError
from valley.scores.composites import CASE_COLUMNS, Composite, Means, composites, fails_gates
from valley.statistics import bounds, draw_weights, n_units, scarcest, unit_weights, weighted_means

PARTS = (*PROBE_KINDS, *CASE_COLUMNS)  # what composites are made of
BASE = (*PARTS, NET)  # means of case scores, from which METRICS and COMPOSITES follow
_OF_EDIT, _OF_PLACEBO = pd.Index(BASE), pd.Index(PARTS)  # made once: pandas makes it of a list of names in every call
COMPOSITES = tuple(one.name for one in composites())


def gated(one: Composite, means: Means, failed: np.ndarray | bool) -> np.ndarray:
    """(n,) of the composite, 0 where a gate is failed; NaN stays."""
    made = one(means)
    return np.where(failed & ~np.isnan(made), 0.0, made) if one.gated else made


@dataclass(frozen=True)
class Sampled:
    """Scores of one group of cases, and what they rest on.

    Attributes:
        value: (k,) estimates. samples: (draws, k) of the bootstrap.
        units, cases: (k,) how many relations, or cases where all are of one relation, and how many cases have each.
    """

    value: np.ndarray
    samples: np.ndarray
    units: np.ndarray
    cases: np.ndarray

    @classmethod
    def nothing(cls, draws: int, n: int) -> Sampled:
        """`n` scores that were not measured."""
        return cls(np.full(n, np.nan), np.full((draws, n), np.nan), np.zeros(n, dtype=int), np.zeros(n, dtype=int))

    @classmethod
    def joined(cls, *parts: Sampled) -> Sampled:
        """The scores of all `parts`, of the same group, one part after another."""
        return cls(*(np.concatenate(arrays, axis=-1) for arrays in zip(*(one.arrays for one in parts), strict=True)))

    @classmethod
    def stacked(cls, parts: Sequence[Sampled], axis: int = 0) -> Sampled:
        """The same scores of several groups, with the groups as a new `axis` of every array."""
        return cls(*(np.stack(arrays, axis=axis) for arrays in zip(*(one.arrays for one in parts), strict=True)))

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.value, self.samples, self.units, self.cases

    def at(self, places: Sequence[int]) -> Sampled:
        """Some of the scores."""
        return Sampled(*(array[..., list(places)] for array in self.arrays))

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """95% intervals of scores in [0, 1]: low (k,), high (k,)."""
        return bounds(self.samples, self.units, self.cases)


class Resampler:
    """Bootstrap weights of every case of a run, drawn once, so that all rungs and settings see the same draws.

    Edit kinds are resampled each on their own (their cases are never exchanged), cases within relations. A score that
    only cases of one relation have is the mean over cases that are drawn, as relations cannot be.
    """

    def __init__(self, scores: pd.DataFrame, draws: int, seed: int) -> None:
        if draws < 0:
            raise RowsError(f"draws is {draws}; give 0 (no intervals) or more")
        self.draws, self._seed = draws, seed
        parts, pairs, units = [], [], []
        cases = scores.drop_duplicates("pair").sort_values(["ladder", "edit_kind", "cluster", *CASE], kind="stable")
        for (ladder, kind), part in cases.groupby(["ladder", "edit_kind"], observed=True):
            pairs.append(part["pair"].to_numpy())
            of_cases = part["cluster"].nunique() == 1  # `draw_weights` then draws them
            units += [f"{ladder}/{kind}/{name}" for name in part["pair" if of_cases else "cluster"]]
            parts.append(draw_weights(part["cluster"].tolist(), draws, [seed, *f"{ladder}/{kind}".encode()]))
        self._order = np.argsort(np.concatenate(pairs)) if pairs else np.zeros(0, dtype=int)
        self._pairs = np.concatenate(pairs)[self._order] if pairs else np.zeros(0, dtype=int)
        codes, self._names = pd.factorize(np.array(units, dtype=object))
        self._units = codes[self._order]
        # (cases, draws), so that the weights of some cases are whole lines
        self._weights = (np.concatenate(parts, axis=1) if parts else np.zeros((draws, 0))).T[self._order]
        self._within: dict[int, np.ndarray] = {}

    def weights(self, part: pd.DataFrame) -> np.ndarray:
        """(draws, len(part)): how often each case of `part`, lines of the scores that this was made of, is drawn."""
        return self._weights[self._places(part)].T

    def draw(self, part: pd.DataFrame, placebo: pd.DataFrame | None = None) -> Drawn:
        """The cases of one group, at least one, and every bootstrap draw of them; beside their placebo edits."""
        noise = None if placebo is None or placebo.empty else self.means(placebo, _OF_PLACEBO)
        return Drawn(self.means(part, _OF_EDIT), noise)

    def means(self, part: pd.DataFrame, columns: pd.Index | list[str]) -> Sampled:
        """The means of `columns` over the cases of `part`, each over those that have it."""
        values, places = part[columns].to_numpy(dtype="float64"), self._places(part)
        there, relations = ~np.isnan(values), self._units[places]
        units, cases = n_units(relations, there), there.sum(axis=0)
        samples = weighted_means(self._weights[places].T, values)
        alone = units == 1
        for relation in np.unique(relations[there[:, alone].any(axis=1)]):
            here = relations == relation
            of_it = alone & there[here].any(axis=0)
            samples[:, of_it] = weighted_means(self._within_relation(relation, places[here]), values[here][:, of_it])
        units = np.where(alone, cases, units)
        return Sampled(weighted_means(np.ones((1, len(part))), values)[0], samples, units, cases)

    def _places(self, part: pd.DataFrame) -> np.ndarray:
        return np.searchsorted(self._pairs, part["pair"].to_numpy())

    def _within_relation(self, relation: int, places: np.ndarray) -> np.ndarray:
        """(draws, len(places)): how often each case at `places`, all of one relation, is drawn among its cases."""
        every = np.flatnonzero(self._units == relation)
        if relation not in self._within:
            rng = np.random.default_rng([self._seed, *self._names[relation].encode()])
            drawn = unit_weights(len(every), self.draws, rng)
            self._within[relation] = drawn[:, np.argsort(np.argsort(self._order[every]))]
        return self._within[relation][:, np.searchsorted(every, places)]


@dataclass(frozen=True)
class Drawn:
    """One group as its cases are and as each bootstrap draw has them: the means that all its scores are made of.

    Attributes:
        means: of BASE. placebo: of PARTS of the placebo edits, or None.
    """

    means: Sampled
    placebo: Sampled | None = None

    @cached_property
    def _parts(self) -> list[tuple[Means, np.ndarray, np.ndarray]]:
        """Means, net transfer and failed gates, of the cases and of the draws. A draw may fail a gate where the cases
        do not: near a gate the score may be 0 or not."""
        placebo = (None, None) if self.placebo is None else (self.placebo.value[None], self.placebo.samples)
        means = self.means.value[None], self.means.samples
        named = [named_means(one[:, :-1], noise) for one, noise in zip(means, placebo, strict=True)]
        return [(one, full[:, -1], fails_gates(one)) for one, full in zip(named, means, strict=True)]

    def _sampled(self, make: Callable[[Means, np.ndarray, np.ndarray], np.ndarray]) -> Sampled:
        """What `make` makes, (n, k), of n means, net transfers and failed gates."""
        noise = None if self.placebo is None else np.where(np.isnan(self.placebo.value), np.nan, 0.25)[None]

        def of_any(means: np.ndarray) -> np.ndarray:
            return make(named_means(means[:, :-1], noise), means[:, -1], np.zeros(len(means), dtype=bool))

        value, samples = (make(*part) for part in self._parts)
        return Sampled(value[0], samples, *(scarcest(n, of_any) for n in (self.means.units, self.means.cases)))

    def metrics(self, one: Composite) -> Sampled:
        """METRICS by the composite `one`."""
        return self._sampled(lambda means, net, failed: _metrics(one, means, net, failed))

    def kinds(self) -> Sampled:
        """PROBE_KINDS, those of generalisation above placebo where there is one."""
        net = () if self.placebo is None else GENERALISATION
        return self._sampled(
            lambda means, *_: np.column_stack([means.net(k) if k in net else means.values[k] for k in PROBE_KINDS])
        )

    def composites(self) -> Sampled:
        """COMPOSITES, 0 where a gate fails."""
        return self._sampled(
            lambda means, _, failed: np.column_stack([gated(one, means, failed) for one in composites()])
        )


def named_means(means: np.ndarray, placebo: np.ndarray | None) -> Means:
    named = [{} if one is None else {name: one[:, at] for at, name in enumerate(PARTS)} for one in (means, placebo)]
    return Means(*named)


def _metrics(one: Composite, means: Means, net: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """(n, len(METRICS)): probe kinds as they are, the transfer floored at 0, the sides of the composite and itself."""
    sides = (*one.parts(means), gated(one, means, failed))
    return np.column_stack([*(means.values[kind] for kind in PROBE_KINDS), np.maximum(net, 0), *sides])


def composites_of(means: pd.DataFrame) -> np.ndarray:
    """(lines, len(COMPOSITES)) of lines that `group_means` gave, without placebo: what is above placebo is NaN."""
    named = named_means(means.reindex(columns=list(PARTS)).to_numpy(dtype="float64"), None)
    failed = fails_gates(named)
    return np.column_stack([gated(one, named, failed) for one in composites()])


def kind_mean(parts: Sequence[Sampled]) -> Sampled:
    """Unweighted mean over edit kinds, which rests on as many units and cases as the kind with the fewest.

    A metric measured for some kinds only is the mean of those; generalisation, specificity and score need every kind.
    """
    strict = [METRICS.index(m) for m in ("generalisation", "specificity", "score")]
    of_kinds = Sampled.stacked(parts)
    means = []
    for stack in (of_kinds.value, of_kinds.samples):
        total = _nanmean(stack)
        total[..., strict] = stack[..., strict].mean(axis=0)
        means.append(total)
    least = (np.where(counts > 0, counts, counts.max()).min(axis=0) for counts in (of_kinds.units, of_kinds.cases))
    return Sampled(*means, *least)


def _nanmean(stack: np.ndarray) -> np.ndarray:
    present = ~np.isnan(stack)
    count = present.sum(axis=0)
    total = np.where(present, stack, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
