"""How good a setting is on the cases measured so far: the point that the search compares, as `valley` defines it.

By rule 3 generalisation and specificity are unweighted means over IN_LANGUAGE and KEPT of each kind's mean over cases
(a multi-hop question only in the language of the edit), and a setting that fails a gate has the score 0. By the rules
before, they are means over all kinds, then over cases. Cases that the unedited model knew count, and all cases where
none of those is measurable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

from benchmarks.sweep.planning.plan import SEARCH_RULE
from editing.lazy import pandas as pd
from valley.rows import GATES, GENERALISATION, IN_LANGUAGE, KEPT, SPECIFICITY

ALL_KNOWN = 10**9  # the count of a plan's estimate, before anything is measured


@dataclass(frozen=True)
class Point:
    """Mean generalisation and specificity in [0, 1], NaN where not measurable; `failed` where every cell failed;
    `gated` where a gate is failed; `known` counts the measured cases whose fact the unedited model knew."""

    generalisation: float = nan
    specificity: float = nan
    failed: bool = False
    known: int = 0
    gated: bool = False

    @property
    def score(self) -> float:
        """2gs / (g + s); 0 when both are 0 or a gate is failed; NaN where either is NaN."""
        total = self.generalisation + self.specificity
        return (
            0.0 if total == 0 or (self.gated and total == total) else 2 * self.generalisation * self.specificity / total
        )


def judge(rows: pd.DataFrame, rule: int = SEARCH_RULE) -> Point:
    """The point of one setting, from the rows of its cells; error rows take no part."""
    rows = rows[rows["error"] == ""]
    if rows.empty:
        return Point(failed=True)
    means = _means if rule == SEARCH_RULE else _first_means
    known = rows["known"].fillna(False).astype(bool)
    first = means(rows[known])
    count = len(rows.loc[known, ["dataset", "run_seed", "case"]].drop_duplicates())
    return replace(means(rows) if isnan(first.score) else first, known=count)


def case_means(rows: pd.DataFrame) -> pd.Series:
    """By (data set, case, probe): the mean over the probes of a kind that count by rule 3."""
    own = (rows["probe"] != "multi_hop") | (rows["lang"] == rows["edit_lang"])
    return rows[own].groupby(["dataset", "case", "probe"], observed=True)["value"].mean()


def _means(rows: pd.DataFrame) -> Point:
    means = case_means(rows).groupby("probe", observed=True).mean()
    general, special = (float(means.reindex(list(names)).mean()) for names in (IN_LANGUAGE, KEPT))
    return Point(general, special, gated=any(means.get(kind, nan) < least for kind, least in GATES.items()))


def _first_means(rows: pd.DataFrame) -> Point:
    if rows.empty:
        return Point()
    kinds = rows.groupby(["dataset", "case", "probe"], observed=True)["value"].mean().unstack("probe")
    generalisation, specificity = (
        float(kinds.reindex(columns=list(names)).mean(axis=1).mean()) for names in (GENERALISATION, SPECIFICITY)
    )
    return Point(generalisation, specificity)


def ranked(points: Sequence[Point]) -> list[int]:
    """Indices by falling score; equal ones keep their order, what is not measurable comes last."""
    return sorted(
        range(len(points)), key=lambda i: (isnan(score := points[i].score), -score if score == score else 0.0)
    )


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the measurable points that no other one beats in both generalisation and specificity, in order.

    Of equal points the first stays.
    """
    sound = [i for i, p in enumerate(points) if not isnan(p.score)]

    def beaten(i: int) -> bool:
        own = points[i]
        return any(
            o.generalisation >= own.generalisation
            and o.specificity >= own.specificity
            and ((o.generalisation, o.specificity) != (own.generalisation, own.specificity) or j < i)
            for j, o in ((j, points[j]) for j in sound if j != i)
        )

    return [i for i in sound if not beaten(i)]
