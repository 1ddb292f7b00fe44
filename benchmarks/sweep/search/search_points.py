"""How good a setting is on the cases measured so far: the point that the search compares, as `valley` defines it.

A case's score of a probe kind is the mean of its values; generalisation and specificity are unweighted means over
kinds, then over cases. Cases that the unedited model knew count, and all cases where none of those is measurable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

import pandas as pd

from valley.rows import GENERALISATION, SPECIFICITY

ALL_KNOWN = 10**9  # the count of a plan's estimate, before anything is measured


@dataclass(frozen=True)
class Point:
    """Mean generalisation and specificity in [0, 1], NaN where not measurable; `failed` where every cell failed;
    `known` counts the measured cases whose fact the unedited model knew."""

    generalisation: float = nan
    specificity: float = nan
    failed: bool = False
    known: int = 0

    @property
    def harmonic_mean(self) -> float:
        """2gs / (g + s); 0 when both are 0; NaN where either is NaN."""
        total = self.generalisation + self.specificity
        return 0.0 if total == 0 else 2 * self.generalisation * self.specificity / total


def judge(rows: pd.DataFrame) -> Point:
    """The point of one setting, from the rows of its cells; error rows take no part."""
    rows = rows[rows["error"] == ""]
    if rows.empty:
        return Point(failed=True)
    known = rows["known"].fillna(False).astype(bool)
    first = _means(rows[known])
    count = len(rows.loc[known, ["dataset", "run_seed", "case"]].drop_duplicates())
    return replace(_means(rows) if isnan(first.harmonic_mean) else first, known=count)


def _means(rows: pd.DataFrame) -> Point:
    if rows.empty:
        return Point()
    kinds = rows.groupby(["dataset", "case", "probe"], observed=True)["value"].mean().unstack("probe")
    generalisation, specificity = (
        float(kinds.reindex(columns=list(names)).mean(axis=1).mean()) for names in (GENERALISATION, SPECIFICITY)
    )
    return Point(generalisation, specificity)


def ranked(points: Sequence[Point]) -> list[int]:
    """Indices by falling harmonic mean; equal ones keep their order, what is not measurable comes last."""
    return sorted(range(len(points)), key=lambda i: (isnan(h := points[i].harmonic_mean), -h if h == h else 0.0))


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the measurable points that no other one beats in both generalisation and specificity, in order.

    Of equal points the first stays.
    """
    sound = [i for i, p in enumerate(points) if not isnan(p.harmonic_mean)]

    def beaten(i: int) -> bool:
        own = points[i]
        return any(
            o.generalisation >= own.generalisation
            and o.specificity >= own.specificity
            and ((o.generalisation, o.specificity) != (own.generalisation, own.specificity) or j < i)
            for j, o in ((j, points[j]) for j in sound if j != i)
        )

    return [i for i in sound if not beaten(i)]
