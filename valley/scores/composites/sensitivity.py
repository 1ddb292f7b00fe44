"""Whether a composite can notice what it is meant to notice.

A composite that hardly moves when one kind of specificity is halved is flat whatever the models do, which is what made
the first study's headline.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from valley.rows import GENERALISATION, PROBE_KINDS, SPECIFICITY
from valley.scores.composites.composite import CASE_COLUMNS, KEPT, OWN, SPECIFIC_ENOUGH, Composite, Means
from valley.scores.composites.registry import composites

GOOD = 0.9  # of every kind, where the test stands
PLACEBO = 0.1
_TWIN = {"neighbour": ("ns", "locality")}  # the published scores that ask the same probes
_STEPS = np.linspace(0, 1, 11)


def _means(changes: Mapping[str, float | np.ndarray]) -> Means:
    """GOOD means of every kind with `changes` of some specificity kinds, in all languages alike."""
    names = (*PROBE_KINDS, *CASE_COLUMNS)
    values = {name: np.full(_length(changes), GOOD) for name in names}
    for kind, value in changes.items():
        for name in (kind, kind + OWN, *_TWIN.get(kind, ())):
            values[name] = np.broadcast_to(np.asarray(value, float), (_length(changes),)).copy()
    stayed = np.mean([values[kind] for kind in KEPT], axis=0)
    values["first_generalisation"] = np.full(_length(changes), GOOD)
    values["first_specificity"] = np.mean([values[kind] for kind in SPECIFICITY], axis=0)
    # Of an edit with one dose that reaches GOOD: the rectangle below it, and GOOD where it is specific enough.
    values["dose_area"] = GOOD * stayed
    values["dose_gen_at_spec"] = np.where(stayed >= SPECIFIC_ENOUGH - 1e-9, GOOD, 0.0)
    placebo = {
        name: np.full(_length(changes), PLACEBO)
        for name in ("first_generalisation", *GENERALISATION, *(f"{k}{OWN}" for k in GENERALISATION))
    }
    return Means(values, placebo)


def _length(changes: Mapping[str, float | np.ndarray]) -> int:
    return max((np.size(value) for value in changes.values()), default=1)


def insensitive_to(composite: Composite) -> tuple[str, ...]:
    """The kinds of `composite.kept` whose halving moves it by less than their share.

    The share of one of k kinds: specificity is half of the composite, the kind one k-th of that, and half of the kind
    is lost, so a quarter of the composite's value, divided by k.
    """
    before = float(composite(_means({}))[0])
    needed = before / (4 * max(1, len(composite.kept)))
    return tuple(
        kind for kind in composite.kept if before - float(composite(_means({kind: GOOD / 2}))[0]) < needed - 1e-9
    )


def falls_with_collateral(composite: Composite) -> bool:
    """Whether the composite never rises, and falls in all, as every specificity kind it notices falls from 1 to 0."""
    values = composite(_means(dict.fromkeys(composite.kept, 1 - _STEPS)))
    return bool((np.diff(values) <= 1e-12).all() and values[-1] < values[0])


@cache
def defensible() -> tuple[Composite, ...]:
    """The composites that vote on a verdict: those that pass both tests. The others are shown beside them."""
    return tuple(one for one in composites() if not insensitive_to(one) and falls_with_collateral(one))
