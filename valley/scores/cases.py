"""Rows -> one line of scores per edited case: the mean of each probe kind, generalisation, specificity.

Nothing is dropped in silence: `failures` lists the error rows, `unmeasurable` counts the NaN values by reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import (
    CASE,
    COLUMNS,
    FULL,
    GENERALISATION,
    KEPT,
    NET,
    PROBE_KINDS,
    RUNG,
    SCHEMA_VERSION,
    SETTING,
    SPECIFICITY,
    RowsError,
)
from valley.scores.case_columns import OPTIONAL, composite_columns, dose_columns
from valley.scores.composites import CASE_COLUMNS
from valley.scores.composites.composite import CHANGED, DOSES, FIRST

_ABOUT = ("site", "lookup", "depth", "subject", "relation", "split")
UNIT: tuple[str, ...] = (*RUNG, "edit_kind", *SETTING, *CASE)  # one edit of one case on one rung
_CHECKED = ["cell", *UNIT, "run_seed", "probe", "probe_index", "model_hash", "split", "relation"]


_USED = [*UNIT, "probe", "probe_index", "run_seed", "cell", "lang", "edit_lang", "value", "known", *_ABOUT]
NEEDED = frozenset([*_USED, *_CHECKED, "schema_version", "error", "reason"])  # columns without which nothing is scored


def check(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` if they are a sound table, columns in schema order; those outside NEEDED may be left out.

    Raises:
        RowsError: other columns or schema version, no rows, an unknown probe kind, a value outside [0, 1], a probe
            measured twice in a cell, two models under one rung name, a case in both splits.
    """
    if not isinstance(rows, pd.DataFrame):
        raise RowsError(f"rows are a {type(rows).__name__}, not a table; read them with valley.rows.schema.read_run")
    lacking, extra = sorted(NEEDED - set(rows.columns)), sorted(set(map(str, rows.columns)) - set(COLUMNS))
    if lacking or extra:
        text = "; ".join(
            f"{word} {', '.join(names[:3])}" for word, names in (("no", lacking), ("extra", extra)) if names
        )
        raise RowsError(f"the rows table does not fit schema {SCHEMA_VERSION} ({text}); run bench again")
    if rows.empty:
        raise RowsError("the rows table is empty; run bench first")
    versions = sorted(set(rows["schema_version"]))
    if versions != [SCHEMA_VERSION]:
        raise RowsError(f"the rows have schema {versions}, this program reads {SCHEMA_VERSION}; run bench again")
    rows = rows[[name for name in COLUMNS if name in rows]]
    text_columns = [str(name) for name in rows if COLUMNS[str(name)][0] == "string"]
    rows = rows.assign(**{name: rows[name].fillna("") for name in text_columns if rows[name].isna().any()})
    dose = ["dose"] if "dose" in rows else []
    good = coded(without_errors(rows, [*_CHECKED, "value", *dose]))
    unknown = sorted(set(good["probe"].unique()) - set(PROBE_KINDS))
    if unknown:
        raise RowsError(f"unknown probe kind {unknown[0]!r} in the rows; use one of {', '.join(PROBE_KINDS)}")
    wild = good[good["value"].notna() & ~good["value"].between(0, 1)]
    if len(wild):
        bad = wild.iloc[0]
        raise RowsError(
            f"case {bad['case']!r} at {bad['rung']!r}: {bad['probe']} has value {bad['value']}, not in [0, 1]"
        )
    twice = good.duplicated(["cell", *UNIT, "run_seed", *dose, "probe", "probe_index"])
    if twice.any():
        bad = good[twice].iloc[0]
        raise RowsError(
            f"case {bad['case']!r} at {bad['rung']!r}: {bad['probe']} {bad['probe_index']} is in the rows "
            f"twice; remove the copy of cell {str(bad['cell'])[:12]} from the run's cells"
        )
    for key, column, fix in (
        (RUNG, "model_hash", "name the rungs apart"),
        (("edit_kind", *CASE), "split", "a case is dev or test, never both; do not mix run seeds"),
        (("edit_kind", *CASE), "relation", "a case has one relation"),
    ):
        n = good[good[column] != ""].groupby(list(key), observed=True)[column].nunique()
        if (n > 1).any():
            raise RowsError(f"{n.index[n > 1][0][-1]!r} has {n[n > 1].iloc[0]} values of {column}; {fix}")
    return rows


def without_errors(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """`columns` of the rows of edits that did not fail."""
    failed = (rows["error"] != "").to_numpy(dtype=bool)
    return rows.loc[~failed, list(columns)] if failed.any() else rows[list(columns)]


def coded(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with its text columns as categories in alphabetical order: groups and sorts go by numbers, in the same
    order."""
    texts = [name for name in frame.columns if isinstance(frame[name].dtype, pd.StringDtype)]
    return frame.astype(dict.fromkeys(texts, "category")).copy()  # a copy has its numbers in one block


def matching(frame: pd.DataFrame, key: dict) -> pd.DataFrame:
    keep = np.ones(len(frame), dtype=bool)
    for name, value in key.items():
        keep &= (frame[name] == value).to_numpy(dtype=bool)
    return frame[keep]


def failures(rows: pd.DataFrame) -> pd.DataFrame:
    """The error rows: what failed where and why, in a fixed order."""
    columns = [*RUNG, "edit_kind", *SETTING, "run_seed", *CASE, "error"]
    failed = rows.loc[rows["error"] != "", columns]
    return failed.sort_values(columns, kind="stable", ignore_index=True)


def unmeasurable(rows: pd.DataFrame) -> pd.DataFrame:
    """Probes without a value, counted: one line per rung, edit kind, probe kind and reason, column `n`."""
    gaps = rows[(rows["error"] == "") & rows["value"].isna()]
    gaps = gaps.assign(reason=gaps["reason"].where(gaps["reason"] != "", "no reason given"))
    key = [*RUNG, "edit_kind", "probe", "reason"]
    return gaps.groupby(key, observed=True).size().rename("n").reset_index()


def unit_numbers(good: pd.DataFrame) -> pd.Series:
    """The number of the edited case of each row, in the order of UNIT: `case_scores` has its line there."""
    return coded(good[list(UNIT)]).groupby(list(UNIT), observed=True).ngroup()


def edit_languages(good: pd.DataFrame, unit: Sequence[str] = UNIT) -> pd.Series:
    """The language of every edit (`unit` is the index): as stated, or where an older table does not state it that of
    the edit's
    first efficacy or paraphrase probe. Its cross-lingual probes ask in another one."""
    first = good[good["probe"].isin(["efficacy", "paraphrase"])].sort_values("probe_index", kind="stable")
    langs = first.groupby(list(unit), observed=True)["lang"].first()
    stated = good.groupby(list(unit), observed=True)["edit_lang"].first()
    stated, langs = stated.astype("string").fillna(""), langs.astype("string").reindex(stated.index)
    return stated.where(stated != "", langs).fillna("").rename("edit_lang")


def net_of_siblings(good: pd.DataFrame, unit: list[str]) -> pd.Series:
    """cross_lingual - (1 - neighbour) per case, both in the same language, mean over languages; may be negative.

    Not floored here: a floor per case would turn noise around zero into transfer.
    """
    pair = good[good["probe"].isin(["cross_lingual", "neighbour"])]
    means = pair.groupby([*unit, "lang", "probe"], observed=True)["value"].mean().unstack("probe")
    means.columns = list(means.columns)
    means = means.reindex(columns=["cross_lingual", "neighbour"])
    return (means["cross_lingual"] - (1 - means["neighbour"])).groupby(level=unit, observed=True).mean()


def case_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per edited case: UNIT, facts about it, the mean of each probe kind, and the three summaries.

    A probe kind's score is the mean of `value` over the case's probes of that kind (NaN left out; several run seeds
    are pooled). generalisation (of the in-language kinds, efficacy not among them) and specificity are unweighted
    means of the kinds that could be measured.
    `cluster` is the relation of the case (`relation` is a probe kind), `edit_lang` the language of the edit, `pair` the
    number of the case, the same at every rung. `known` is True only when no row of the case at
    this rung says otherwise. Error rows take no part.
    """
    return scores_of(check(rows))


def at_full_dose(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of edits as their methods made them; those at other doses only say what a case's curve over doses is."""
    return rows[rows["dose"].eq(FULL)] if "dose" in rows and rows["dose"].ne(FULL).any() else rows


def scores_of(rows: pd.DataFrame) -> pd.DataFrame:
    """`case_scores` of rows that `check` has passed."""
    full = at_full_dose(rows)
    doses = dose_columns(rows, UNIT) if len(full) < len(rows) else None
    rows = full
    good = without_errors(rows, [*_USED, *(name for name in OPTIONAL if name in rows)])
    texts = {name: good[name].dtype for name in good.columns if isinstance(good[name].dtype, pd.StringDtype)}
    if good.empty:
        summaries = (*PROBE_KINDS, NET, "generalisation", "specificity", *CASE_COLUMNS)
        empty = {name: pd.Series(dtype="float64") for name in ("depth", *summaries)}
        empty |= {name: pd.Series(dtype="bool") for name in ("known", "known_everywhere")}
        words = {
            name: pd.Series(dtype="string") for name in ("site", "lookup", "subject", "cluster", "split", "edit_lang")
        }
        empty |= {"pair": pd.Series(dtype="int64")}
        return pd.DataFrame({name: good[name] for name in UNIT} | words | empty)
    unit = list(UNIT)
    # Millions of rows: the eight names of a unit are numbered once, in their order, and everything else goes by the
    # number.
    good = coded(good)
    good["_unit"] = unit_numbers(good)
    kinds = good.groupby(["_unit", "probe"], observed=True)["value"].mean().unstack("probe")
    kinds.columns = list(kinds.columns)
    scores = kinds.reindex(columns=list(PROBE_KINDS)).astype("float64")
    scores[NET] = net_of_siblings(good, ["_unit"]).reindex(scores.index)
    for name, all_kinds in zip(FIRST, (GENERALISATION, SPECIFICITY), strict=True):
        scores[name] = scores[list(all_kinds)].mean(axis=1)
    first = good[["_unit", "probe_index", "run_seed", "cell"]].sort_values(
        ["_unit", "probe_index", "run_seed", "cell"], kind="stable"
    )
    grouped = good.loc[first.index, ["_unit", *_ABOUT]].groupby("_unit")
    names = good.drop_duplicates("_unit").set_index("_unit")[unit]
    lang_type: Any = texts.get("edit_lang", "string")
    languages = edit_languages(good, ("_unit",)).astype(lang_type)
    scores = scores.join(composite_columns(good, languages).drop(columns=list(FIRST)))
    scores["generalisation"] = scores[list(CHANGED)].mean(axis=1)
    scores["specificity"] = scores[list(KEPT)].mean(axis=1)
    facts = names.join(grouped.first()).rename(columns={"relation": "cluster"})
    table = facts.join(scores).join(languages).reset_index(drop=True)
    knew = good["known"].fillna(False).astype(bool).groupby(good["_unit"]).min().rename("known")
    by_rung = names.join(knew).groupby([*RUNG, "edit_kind", *CASE])["known"].min().reset_index()
    table = table.merge(by_rung, on=[*RUNG, "edit_kind", *CASE], how="left", validate="many_to_one")
    # Known at every rung of the ladder that met the case: the stratum in which rungs compare fact by fact.
    everywhere = by_rung.groupby(["ladder", "edit_kind", *CASE])["known"].agg(["min", "size"])
    n_rungs = by_rung.drop_duplicates([*RUNG, "edit_kind"]).groupby(["ladder", "edit_kind"]).size().rename("rungs")
    everywhere = everywhere.join(n_rungs, on=["ladder", "edit_kind"])
    flag = (everywhere["min"] & (everywhere["size"] == everywhere["rungs"])).rename("known_everywhere").reset_index()
    table = table.merge(flag, on=["ladder", "edit_kind", *CASE], how="left", validate="many_to_one")
    if doses is not None:
        texts_of_unit = table[unit].astype(doses.index.to_frame().dtypes.to_dict())
        table[list(DOSES)] = doses.reindex(pd.MultiIndex.from_frame(texts_of_unit)).to_numpy()
    table = table.sort_values(unit, kind="stable", ignore_index=True)
    table = table.assign(pair=table.groupby(["ladder", "edit_kind", *CASE], observed=True).ngroup())
    texts["cluster"] = texts.pop("relation", facts["cluster"].dtype)  # `relation` is a probe kind from here on
    return table.astype({name: dtype for name, dtype in texts.items() if name in table}).copy()  # one block
