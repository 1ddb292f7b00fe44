"""How editable a rung is: mean scores per setting, the best setting chosen on dev, the Pareto front, controls.

All functions take a table and give a table. A *group* is one rung x edit kind x method x setting.
"""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from functools import cache

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import (
    ALL_DEV,
    CONTROLS,
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
    PRIMARY,
    Composite,
    chooser,
    failed_gates,
    fails_gates,
    ruler,
)
from valley.scores.resampling import BASE, PARTS, gated, named_means

GROUP: tuple[str, ...] = (*RUNG, "edit_kind", *SETTING)
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
    named = named_means(means.reindex(columns=list(PARTS)).to_numpy(dtype="float64"), None)
    means["generalisation"], means["specificity"] = one.parts(named)
    means["score"] = gated(one, named, fails_gates(named))
    return means.assign(n=grouped.size()).reset_index()


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
    place = [*RUNG, "edit_kind", *by]
    paired = _groups(with_placebo(scores)) if ruler(metric).net else {}
    strata = [name for name in STRATA if name in scores]
    scores = coded(scores[[*GROUP, "split", *strata, *(name for name in BASE if name in scores)]])
    anyone = scores[~scores["method"].isin(CONTROLS)]
    if means is None:
        on_dev = anyone[anyone["split"] == "dev"]
        means = group_means(stratum(on_dev, which), one), group_means(on_dev, one)
    finalists = _groups(anyone[anyone["split"] == "test"].drop_duplicates(list(GROUP)))
    of_stratum, of_all = (_marked(table, place, finalists, paired) for table in means)
    first_of = anyone.drop_duplicates(place).set_index(place, drop=False)[list(SETTING)]
    out = []
    for row in candidates(tried, by).to_dict("records"):
        key = tuple(row[name] for name in place)
        chosen: dict[str, object] = {}
        if row["scored_on"] == "all" or row["n_settings"] == 1:
            if key in first_of.index:
                chosen = {**_setting(first_of.loc[key]), "chosen_on": "only setting"}
            else:
                chosen["reason"] = "every edit failed"
        elif key in of_stratum:
            chosen = _best(of_stratum[key], "dev")
        elif key in of_all:
            chosen = _best(of_all[key], ALL_DEV)
        else:
            chosen["reason"] = f"no measurable dev case to choose among {row['n_settings']} settings"
        nothing = {"method": "", "settings": "", "chosen_on": "", "dev_score": np.nan, "reason": ""}
        out.append(nothing | row | chosen)
    return pd.DataFrame(out, columns=[*RUNG, "edit_kind", *SETTING, "n_settings", "chosen_on", "scored_on",
                                      "dev_score", "reason"])  # fmt: skip


def _marked(means: pd.DataFrame, place: Sequence[str], finalists: Container, paired: Container) -> dict:
    """By `place` the settings of `group_means` that have a score, with whether they were `tested`, and whether their
    placebo ran (`paired`)."""
    means = means[~means["method"].isin(CONTROLS) & means["score"].notna()]
    groups = _groups(means)
    means = means.assign(tested=[group in finalists for group in groups], paired=[group in paired for group in groups])
    return dict(iter(means.groupby(list(place), observed=True)))


def _best(settings: pd.DataFrame, chosen_on: str) -> dict[str, object]:
    """What `choose` says of the best of the settings of one place, as `_marked` gives them."""
    for some in ("tested", "paired"):
        settings = settings[settings[some]] if settings[some].any() else settings
    settings = settings[settings["n"] * 2 >= settings["n"].max()]
    order = ["score", "generalisation", *SETTING]
    best = settings.sort_values(order, ascending=[False, False, True, True], kind="stable").iloc[0]
    return {**_setting(best), "chosen_on": chosen_on, "dev_score": best["score"]}


def _setting(line: pd.Series) -> dict[str, object]:
    return dict(zip(SETTING, line[list(SETTING)], strict=True))


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


def gates_failed(part: pd.DataFrame, placebo: pd.DataFrame | None) -> dict[str, float]:
    """The gates that the cases of one group fail, with the value."""
    one, other = (None if p is None else p[list(PARTS)].mean().to_numpy(dtype="float64")[None] for p in (part, placebo))
    assert one is not None
    return failed_gates(named_means(one, other))


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


def measured(part: pd.DataFrame) -> tuple[str, ...]:
    """The probe kinds with at least one value in `part`, in the order of PROBE_KINDS."""
    return tuple(kind for kind in PROBE_KINDS if part[kind].notna().any())
