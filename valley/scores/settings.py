"""How editable a rung is: mean scores per setting, the best setting chosen on dev, the Pareto front, intervals.

All functions take a table and give a table. A *group* is one rung x edit kind x method x setting.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pandas as pd

from valley.rows import (
    ALL_DEV,
    CASE,
    CONTROLS,
    GENERALISATION,
    METRICS,
    NET,
    PLACEBO,
    PROBE_KINDS,
    RUNG,
    SETTING,
    STRATA,
    RowsError,
)
from valley.scores.cases import coded
from valley.scores.composites import (
    CASE_COLUMNS,
    PRIMARY,
    Composite,
    Means,
    chooser,
    composites,
    failed_gates,
    fails_gates,
    ruler,
)
from valley.statistics import draw_weights, t_interval, weighted_means

GROUP: tuple[str, ...] = (*RUNG, "edit_kind", *SETTING)
PARTS = (*PROBE_KINDS, *CASE_COLUMNS)  # what composites are made of
BASE = (*PARTS, NET)  # means of case scores, from which METRICS and COMPOSITES follow
_OF_EDIT, _OF_PLACEBO = pd.Index(BASE), pd.Index(PARTS)  # made once: pandas makes it of a list of names in every call
COMPOSITES = tuple(one.name for one in composites())
CONCEPTS = 20  # cases that a rung must have of edits whose subject is a concept, of which there are few


def needed(min_known: int, kind: str) -> int:
    """`min_known` for facts; renames, retargets and erasures need CONCEPTS at most."""
    return min_known if kind == "fact" else min(min_known, CONCEPTS)


def stratum(scores: pd.DataFrame, which: str) -> pd.DataFrame:
    """The cases of a stratum: known at their rung, known at every rung, or all.

    Raises:
        RowsError: no such stratum.
    """
    if which not in STRATA:
        raise RowsError(f"no stratum {which!r}; use one of {', '.join(STRATA)}")
    return scores if which == "all" else scores[scores[which]]


def ruler_of(metric: str, scores: pd.DataFrame) -> tuple[Composite, str]:
    """The composite that a run is measured by, and a line where it is not the one of `metric`: without any placebo edit
    nothing is above placebo."""
    one = ruler(metric)
    if not one.net or scores["method"].eq(PLACEBO).any():
        return one, ""
    return chooser(metric), f"the run has no placebo edits, so scores are not above placebo ({one.on_dev})"


def group_means(scores: pd.DataFrame, one: Composite) -> pd.DataFrame:
    """Mean of each case score per group, with `n` cases and the generalisation, specificity and `score` of `one`, which
    must not need a placebo."""
    grouped = scores.groupby(list(GROUP), observed=True)
    means = grouped[[name for name in BASE if name in scores]].mean()
    means[NET] = means[NET].clip(lower=0)
    named = _named(means.reindex(columns=list(PARTS)).to_numpy(dtype="float64"), None)
    means["generalisation"], means["specificity"] = one.parts(named)
    means["score"] = gated(one, named, fails_gates(named))
    return means.assign(n=grouped.size()).reset_index()


def gated(one: Composite, means: Means, failed: np.ndarray | bool) -> np.ndarray:
    """(n,) of the composite, 0 where a gate is failed; NaN stays."""
    made = one(means)
    return np.where(failed & ~np.isnan(made), 0.0, made) if one.gated else made


def candidates(tried: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Per ladder, rung and edit kind: how many settings were tried, and which split scores them.

    When no rung of a ladder tried more than one setting of an edit kind nothing is chosen, so all cases count.
    Otherwise every rung of that ladder and kind is scored on test, so that rungs are compared on the same cases.

    Args:
        tried: rows (RUNG, edit_kind, SETTING) of everything tried, failed cells too.
        by: further columns that are counted apart, as of `choose`.
    """
    tried = tried[~tried["method"].isin(CONTROLS) & (tried["method"] != "")]
    settings = tried.drop_duplicates(list(GROUP))
    count = settings.groupby([*RUNG, "edit_kind", *by], observed=True).size().rename("n_settings").reset_index()
    most = count.groupby(["ladder", "edit_kind", *by])["n_settings"].transform("max")
    return count.assign(scored_on=np.where(most > 1, "test", "all"))


def choose(
    scores: pd.DataFrame,
    tried: pd.DataFrame,
    which: str = "known",
    metric: str = PRIMARY,
    by: Sequence[str] = (),
    means: tuple[pd.DataFrame, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """The best setting of each rung and edit kind: highest score on the dev cases of the stratum, by the composite of
    `metric` without placebo.

    Where the stratum has no measurable dev case, all dev cases choose, and `chosen_on` says so; what is scored stays
    the stratum. A setting measured on fewer than half as many dev cases as the best-covered one is not eligible, nor,
    where any was measured on test cases, one that was not: a search by halving has dropped it. Where `metric` is above
    placebo, settings whose own placebo ran are taken before the others. Ties go to the higher generalisation, then to
    the name. Controls (placebo) are never chosen.

    Args:
        by: further columns of SETTING whose values are chosen among apart: `("method",)` gives each method its best.
        means: `group_means` by that composite of the dev cases of the stratum, and of all dev cases, where they are
            there already.

    Returns:
        one line per rung, edit kind and `by`: SETTING (empty when none could be chosen), n_settings, chosen_on,
        scored_on, dev_score, reason.
    """
    one = chooser(metric)
    plan = candidates(tried, by)
    strata = [name for name in STRATA if name in scores]
    paired = _groups(with_placebo(scores)) if ruler(metric).net else {}
    scores = coded(scores[[*GROUP, "split", *strata, *(name for name in BASE if name in scores)]])
    anyone = scores[~scores["method"].isin(CONTROLS)]
    if means is None:
        on_dev = anyone[anyone["split"] == "dev"]
        means = group_means(stratum(on_dev, which), one), group_means(on_dev, one)
    finalists = _groups(anyone[anyone["split"] == "test"].drop_duplicates(list(GROUP)))
    place = [*RUNG, "edit_kind", *by]
    here_of = []
    for table in means:
        table = table[~table["method"].isin(CONTROLS) & table["score"].notna()]
        groups = _groups(table)
        table = table.assign(
            tested=[group in finalists for group in groups], paired=[group in paired for group in groups]
        )
        here_of.append(dict(iter(table.groupby(place, observed=True))))
    first_of = anyone.drop_duplicates(place).set_index(place, drop=False)[list(SETTING)]
    out = []
    for row in plan.to_dict("records"):
        key = tuple(row[name] for name in place)
        base = {"method": "", "settings": "", **row, "chosen_on": "", "dev_score": np.nan, "reason": ""}
        if row["scored_on"] == "all" or row["n_settings"] == 1:
            if key not in first_of.index:
                base["reason"] = "every edit failed"
            else:
                base |= {**first_of.loc[key].to_dict(), "chosen_on": "only setting"}
            out.append(base)
            continue
        here, chosen_on = here_of[0].get(key), "dev"
        if here is None:
            here, chosen_on = here_of[1].get(key), ALL_DEV
        if here is None:
            base["reason"] = f"no measurable dev case to choose among {row['n_settings']} settings"
        else:
            for some in ("tested", "paired"):
                here = here[here[some]] if here[some].any() else here
            here = here[here["n"] * 2 >= here["n"].max()]
            order = ["score", "generalisation", *SETTING]
            best = here.sort_values(order, ascending=[False, False, True, True], kind="stable").iloc[0]
            base |= {
                **best[list(SETTING)].to_dict(),
                "chosen_on": chosen_on,
                "dev_score": best["score"],
            }
        out.append(base)
    return pd.DataFrame(out, columns=[*RUNG, "edit_kind", *SETTING, "n_settings", "chosen_on", "scored_on",
                                      "dev_score", "reason"])  # fmt: skip


def _groups(table: pd.DataFrame) -> dict[tuple, None]:
    """The GROUP of every line, in order; each once."""
    return dict.fromkeys(zip(*(table[name].tolist() for name in GROUP), strict=True))


def with_placebo(scores: pd.DataFrame) -> pd.DataFrame:
    """GROUP of the settings whose own placebo was run at that rung, on that edit kind."""
    place = [*RUNG, "edit_kind"]
    placebos = scores.loc[scores["method"] == PLACEBO, [*place, "settings"]].drop_duplicates()
    others = scores.loc[~scores["method"].isin(CONTROLS), list(GROUP)].drop_duplicates()
    if placebos.empty:
        return others.iloc[:0]
    both = others.merge(placebos, on=place, suffixes=("", "_placebo"))
    names = both[["settings_placebo", *SETTING]].itertuples(index=False, name=None)
    return both.loc[[is_placebo_of(*map(str, name)) for name in names], list(GROUP)].drop_duplicates()


def on_split(scores: pd.DataFrame, scored_on: str) -> pd.DataFrame:
    return scores if scored_on == "all" else scores[scores["split"] == scored_on]


def pareto(points: pd.DataFrame) -> pd.DataFrame:
    """The lines of `points` that no other line beats in both generalisation and specificity, by rising specificity."""
    points = points.dropna(subset=["generalisation", "specificity"])
    gen, spec = (points[side].to_numpy(dtype="float64") for side in ("generalisation", "specificity"))
    names = list(zip(*(points[name].tolist() for name in SETTING), strict=True))
    best, keep = -np.inf, []
    for line in sorted(range(len(points)), key=lambda line: (-spec[line], -gen[line], names[line])):
        if gen[line] > best:
            best = gen[line]
            keep.append(line)
    return points.iloc[keep[::-1]]


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
        return Drawn(self._means(part, _OF_EDIT), noise)

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
    """

    values: tuple[np.ndarray, np.ndarray]
    placebo: tuple[np.ndarray, np.ndarray] | None = None

    @cached_property
    def _named(self) -> list[Means]:
        placebo = self.placebo or (None, None)
        return [_named(means[:, :-1], noise) for means, noise in zip(self.values, placebo, strict=True)]

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


def _named(means: np.ndarray, placebo: np.ndarray | None) -> Means:
    named = [{} if one is None else {name: one[:, at] for at, name in enumerate(PARTS)} for one in (means, placebo)]
    return Means(*named)


def _metrics(one: Composite, means: Means, net: np.ndarray, failed: bool) -> np.ndarray:
    """(n, len(METRICS)): probe kinds as they are, the transfer floored at 0, the sides of the composite and itself."""
    sides = (*one.parts(means), gated(one, means, failed))
    return np.column_stack([*(means.values[kind] for kind in PROBE_KINDS), np.maximum(net, 0), *sides])


def composites_of(means: pd.DataFrame) -> np.ndarray:
    """(lines, len(COMPOSITES)) of lines that `group_means` gave, without placebo: what is above placebo is NaN."""
    named = _named(means.reindex(columns=list(PARTS)).to_numpy(dtype="float64"), None)
    failed = fails_gates(named)
    return np.column_stack([gated(one, named, failed) for one in composites()])


def gates_failed(part: pd.DataFrame, placebo: pd.DataFrame | None) -> dict[str, float]:
    """The gates that the cases of one group fail, with the value."""
    one, other = (None if p is None else p[list(PARTS)].mean().to_numpy(dtype="float64")[None] for p in (part, placebo))
    assert one is not None
    return failed_gates(_named(one, other))


def placebos(scores: pd.DataFrame) -> dict[tuple, pd.DataFrame]:
    """(ladder, rung_index, rung) -> the case scores of its placebo edits."""
    return dict(iter(scores[scores["method"] == PLACEBO].groupby(list(RUNG), observed=True)))


def placebo_of(placebos: dict[tuple, pd.DataFrame], part: pd.DataFrame) -> pd.DataFrame | None:
    """The placebo edits of the cases in `part`, which are of one rung, by the method and setting of `part`.

    Another method's placebo says nothing: IKE leaks otherwise than ROME. None where no placebo of them ran.
    """
    if part.empty:
        return None
    rows = placebos.get(tuple(part[name].iloc[0] for name in RUNG))
    if rows is None:
        return None
    rows = rows[rows["pair"].isin(part["pair"]).to_numpy()]
    method, settings = str(part["method"].iloc[0]), str(part["settings"].iloc[0])
    own = [name for name in rows["settings"].unique() if is_placebo_of(str(name), method, settings)]
    rows = rows[rows["settings"].isin(own).to_numpy()]
    return None if rows.empty else rows.groupby("pair")[[name for name in PARTS if name in rows]].mean().reset_index()


@cache
def is_placebo_of(placebo: str, method: str, settings: str) -> bool:
    """Whether settings of the control `placebo` (JSON) name this inner method with these settings (JSON)."""
    own, other = json.loads(placebo or "{}"), json.loads(settings or "{}")
    if own.get("inner") != method:
        return False
    stated = {name: own[name] for name in ("site", "lookup", "depth") if name in own}
    stated |= json.loads(own.get("options") or "{}")
    return all(other.get(name) == value for name, value in stated.items())


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


def bounds(samples: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
    """95% interval of each metric, by Student's t over the units that were drawn; NaN from fewer than two."""
    with np.errstate(invalid="ignore"):
        centre = np.nansum(samples, axis=0) / np.maximum(np.isfinite(samples).sum(axis=0), 1)
    low, high = t_interval(centre, samples, units)
    return np.clip(low, -1, 1), np.clip(high, -1, 1)


def measured(part: pd.DataFrame) -> tuple[str, ...]:
    """The probe kinds with at least one value in `part`, in the order of PROBE_KINDS."""
    return tuple(kind for kind in PROBE_KINDS if part[kind].notna().any())
