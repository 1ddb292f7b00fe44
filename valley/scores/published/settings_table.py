"""Means and intervals of every setting over its cases: what all definitions of scores share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import CONTROLS, PLACEBO, RUNG, SETTING, RowsError, kind_order
from valley.scores.cases import coded
from valley.scores.composites import Means, failed_gates, fails_gates
from valley.scores.settings import is_placebo_of
from valley.statistics import bounds, draw_weights, n_units, scarcest, weighted_means

GROUP: tuple[str, ...] = (*RUNG, "edit_kind", "dataset", *SETTING)


@dataclass(frozen=True)
class Summary:
    """Columns made of the means of others.

    Attributes:
        heads: their names. make: (means (draws, settings), which of them fail a gate) -> (draws, settings, len(heads)).
        hidden: columns of the cases that only they need.
    """

    heads: tuple[str, ...] = ()
    make: Callable[[Means, np.ndarray], np.ndarray] | None = None
    hidden: tuple[str, ...] = ()


def summarise(
    used: pd.DataFrame,
    cases: pd.DataFrame,
    names: list[str],
    summary: Summary,
    why: Mapping[tuple[str, str, str], str],
    draws: int,
    seed: int,
    ranges: Mapping[str, tuple[float, float]],
) -> pd.DataFrame:
    """Means and intervals of `names` over the cases `used` of each group; `cases` are those of all strata.

    `ranges` has the least and the greatest value of every score that does not lie in [0, 1].
    """
    if draws < 0:
        raise RowsError(f"draws is {draws}; give 0 (no intervals) or more")
    if cases.empty:
        raise RowsError(
            "no measured case in this run; `python cli.py bench` with the same --out tries failed cells again"
        )
    counted = cases.index.isin(used.index)
    place = coded(cases[list(dict.fromkeys((*GROUP, *_POOL, "case")))])
    group = place.groupby(list(GROUP), observed=True).ngroup().to_numpy()
    unique = place.groupby([*_POOL, "case"], observed=True).ngroup().to_numpy()
    lines = cases.loc[~pd.Series(group, index=cases.index).duplicated(), list(GROUP)]
    lines = lines.assign(_group=group[cases.index.get_indexer(lines.index)]).sort_values("_group")
    order = np.flatnonzero(counted)[np.argsort(group[counted], kind="stable")]
    ends = np.searchsorted(group[order], np.arange(len(lines) + 1))
    of_group = [order[begin:end] for begin, end in pairwise(ends)]
    of_placebo = [
        _cases_of(paired, of_group, unique, part) for paired, part in zip(_placebos(lines), of_group, strict=True)
    ]
    about = _about(lines, cases, group, counted)
    weights = _weights(cases, unique, draws, seed)
    shown = [*summary.heads, *names]
    ends = np.array([ranges.get(name, (0.0, 1.0)) for name in shown]).T
    estimates = _estimates(cases, names, summary, of_group, of_placebo, unique, weights, ends)
    table = pd.DataFrame({name: lines[name].tolist() for name in GROUP} | about | estimates)
    table["gaps"] = _gaps(table, shown, names, why)
    table = _in_order(table)
    table.attrs.update({"scores": shown, "draws": draws, "seed": seed})
    return table


def _about(lines: pd.DataFrame, cases: pd.DataFrame, group: np.ndarray, counted: np.ndarray) -> dict[str, Any]:
    """Columns of what the cases of each group are: where they are edited, how many are counted, of how many subjects.

    Args:
        lines: one per group, in their order. group: (cases,) the number of the group of each. counted: (cases,) bool.
    """
    subjects = pd.factorize(cases["subject"])[0]
    pairs = np.unique(np.column_stack([group[counted], subjects[counted]]), axis=0)
    return {
        **{name: _joined(cases[name], group, len(lines)) for name in ("site", "lookup")},
        "depth": cases["depth"].astype("float64").groupby(group).median().to_numpy(),
        "n_cases": np.bincount(group[counted], minlength=len(lines)),
        "n_subjects": np.bincount(pairs[:, 0], minlength=len(lines)),
    }


def _estimates(
    cases: pd.DataFrame,
    names: list[str],
    summary: Summary,
    of_group: list[np.ndarray],
    of_placebo: list[np.ndarray],
    unique: np.ndarray,
    weights: np.ndarray,
    ends: np.ndarray,
) -> dict[str, Any]:
    """Columns of the gates that each group fails, and of every score with its interval.

    Args:
        of_group, of_placebo: the lines of `cases` that count in each group, and those of its placebo.
        unique, weights: see `_weights`; without draws there are no intervals.
        ends: (2, scores) least and greatest value of each, within which means and intervals are kept (a transfer net of
            siblings counts as 0 below it).
    """
    draws = weights.shape[1]
    shown, every = [*summary.heads, *names], [*names, *summary.hidden]
    values, subjects = cases[every].to_numpy(dtype="float64"), pd.factorize(cases["subject"])[0]
    point, low, high = np.full((3, len(of_group), len(shown)), np.nan)
    gates: list[dict[str, float]] = [{} for _ in of_group]
    for settings in _of_the_same_cases(of_group, of_placebo, unique):
        part, placebo = (np.stack([cases_of[i] for i in settings], axis=1) for cases_of in (of_group, of_placebo))
        estimate = _means_of(values, every, part, placebo)
        if summary.hidden:
            for k in np.flatnonzero(fails_gates(estimate)[0]):
                gates[settings[k]] = failed_gates(estimate, int(k))
        point[settings] = estimates = np.clip(_with_summary(estimate, names, summary)[0], *ends)
        there = np.flatnonzero(~np.isnan(estimates).all(axis=0))
        if draws and len(there):
            w = [weights[unique[some[:, 0]]].T for some in (part, placebo)]
            means = _means_of(values, every, part, placebo, w)
            least, most = (np.tile(end[there], len(settings)) for end in ends)
            samples = _with_summary(means, names, summary, there).reshape(draws, -1)
            n = _subjects_of(n_units(subjects[part[:, 0]], ~np.isnan(values[part])), estimate, names, summary, there)
            sides = bounds(np.clip(samples, least, most), n.ravel(), n.ravel(), least=least, most=most)
            at = np.ix_(settings, there)
            low[at], high[at] = (side.reshape(len(settings), -1) for side in sides)
    columns: dict[str, Any] = {
        "gates": [json.dumps({name: round(value, 4) for name, value in one.items()}) for one in gates]
    }
    for j, name in enumerate(shown):
        columns |= {name: point[:, j], f"{name}_low": low[:, j], f"{name}_high": high[:, j]}
    return columns


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """By ladder, kind of edit, data set, rung and setting."""
    kinds = sorted(set(table["edit_kind"]), key=kind_order)
    table = table.assign(_kind=[kinds.index(kind) for kind in table["edit_kind"]])
    by = ["ladder", "_kind", "dataset", "rung_index", "rung", *SETTING]
    return table.sort_values(by, kind="stable", ignore_index=True).drop(columns="_kind")


def _joined(texts: pd.Series, group: np.ndarray, n_groups: int) -> list[str]:
    """The different texts of each group but the empty one, in alphabetical order, joined by "+"."""
    pairs = pd.DataFrame({"group": group, "text": texts.to_numpy()}).drop_duplicates().sort_values(["group", "text"])
    parts: list[list[str]] = [[] for _ in range(n_groups)]
    for number, text in zip(pairs["group"].tolist(), pairs["text"].tolist(), strict=True):
        if text:
            parts[number].append(text)
    return ["+".join(part) for part in parts]


def _gaps(
    table: pd.DataFrame, shown: list[str], names: list[str], why: Mapping[tuple[str, str, str], str]
) -> list[str]:
    """Per line the reasons of its missing scores, as JSON."""
    missing = table[names].isna().to_numpy()
    no_score = table["score"].isna().to_numpy() if "score" in shown else np.zeros(len(table), dtype=bool)
    about = table[["edit_kind", "dataset", "method", "n_cases"]].itertuples(index=False, name=None)
    texts = []
    for i, (edit_kind, dataset, method, n_cases) in enumerate(about):
        gaps = {}
        for name in (names[j] for j in np.flatnonzero(missing[i])):
            if reason := why.get((edit_kind, dataset, name)):
                gaps[name] = reason if n_cases else "no case of this stratum"
        if no_score[i] and method not in CONTROLS and n_cases:
            gaps["score"] = "no placebo edits of this method and setting, or a side of it is not measurable"
        texts.append(json.dumps(gaps, ensure_ascii=False))
    return texts


_POOL = ("ladder", "edit_kind", "dataset")  # cases are exchanged within one, the same at every rung and setting


def _weights(cases: pd.DataFrame, unique: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """(different cases, draws): how often each draw of the cluster bootstrap has a case: subjects are drawn, then cases
    in them.

    Args:
        unique: the number of the case of each line of `cases`; a case is the same at every rung and setting.
    """
    out = np.zeros((int(unique.max()) + 1, draws))
    first = cases[[*_POOL, "subject", "case"]].assign(_case=unique)[~pd.Series(unique, index=cases.index).duplicated()]
    first = first.sort_values([*_POOL, "subject", "case"], kind="stable")
    for key, part in first.groupby(list(_POOL), observed=True):
        drawn = draw_weights(part["subject"].tolist(), draws, [seed, *"/".join(map(str, key)).encode()])
        out[part["_case"].to_numpy()] = drawn.T
    return out


def _placebos(lines: pd.DataFrame) -> list[list[int]]:
    """Per line the places of the lines that are its own placebo, at the same rung and on the same cases."""
    places = lines[["ladder", "rung_index", "rung", "edit_kind", "dataset"]].itertuples(index=False, name=None)
    settings = lines[list(SETTING)].astype(str).itertuples(index=False, name=None)
    every = list(zip(places, settings, strict=True))
    controls: dict[tuple, list[tuple[int, str]]] = {}
    for i, (place, (method, own)) in enumerate(every):
        if method == PLACEBO:
            controls.setdefault(place, []).append((i, own))
    return [[i for i, own in controls.get(place, []) if is_placebo_of(own, *setting)] for place, setting in every]


def _cases_of(settings: list[int], of_group: list[np.ndarray], unique: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The lines of the cases of `settings` that the lines `part` are of too."""
    if not settings:
        return np.zeros(0, dtype=int)
    lines = np.concatenate([of_group[i] for i in settings])
    return lines[np.isin(unique[lines], unique[part])]


TOGETHER = 16  # so that arrays of (draws, settings, scores) stay in the cache


def _of_the_same_cases(
    of_group: list[np.ndarray], of_placebo: list[np.ndarray], unique: np.ndarray
) -> Iterable[np.ndarray]:
    """The settings, up to TOGETHER of those that were measured on the same cases: their means under each draw are one
    product of matrices."""
    together: dict[tuple[bytes, bytes], list[int]] = {}
    for i, (part, placebo) in enumerate(zip(of_group, of_placebo, strict=True)):
        together.setdefault((unique[part].tobytes(), unique[placebo].tobytes()), []).append(i)
    return (np.array(some[i : i + TOGETHER]) for some in together.values() for i in range(0, len(some), TOGETHER))


def _means_of(
    values: np.ndarray,
    names: list[str],
    part: np.ndarray,
    placebo: np.ndarray,
    weights: Sequence[np.ndarray] | None = None,
) -> Means:
    """Means (1, settings) by name of the lines `part` (cases, settings) and of the placebo's; (draws, settings) under
    bootstrap `weights` (draws, cases) of both."""
    made = []
    for place, some in enumerate((part, placebo)):
        n, k = some.shape
        w = np.ones((1, n)) if weights is None else weights[place]
        there = np.flatnonzero(~np.isnan(values[some]).all(axis=(0, 1)))  # 10 of 40 kinds of scores
        means = weighted_means(w, values[some][:, :, there].reshape(n, k * len(there))).reshape(len(w), k, len(there))
        of_name = dict(zip(there.tolist(), np.moveaxis(means, 2, 0), strict=True))
        nothing = np.full((len(w), k), np.nan)
        made.append({name: of_name.get(j, nothing) for j, name in enumerate(names)} if n or some is part else {})
    return Means(*made)


def _with_summary(means: Means, names: list[str], summary: Summary, places: np.ndarray | None = None) -> np.ndarray:
    """(draws, settings, heads + names): what the summary makes of the means, then the means; or those at `places`."""
    heads = []
    if summary.make is not None:
        failed = fails_gates(means) if summary.hidden else np.zeros(1, dtype=bool)
        heads = list(np.moveaxis(summary.make(means, failed), -1, 0))
    columns = [*heads, *(means.values[name] for name in names)]
    return np.stack(columns if places is None else [columns[i] for i in places], axis=-1)


def _subjects_of(
    counts: np.ndarray, estimate: Means, names: list[str], summary: Summary, places: np.ndarray
) -> np.ndarray:
    """(settings, places): how many subjects have each score, of how many `counts` (settings, columns) have each mean of
    `estimate`."""
    placebo = {name: np.where(np.isnan(values), np.nan, 0.25) for name, values in estimate.placebo.items()}

    def make(means: np.ndarray) -> np.ndarray:
        values = dict(zip(estimate.values, np.moveaxis(means, -1, 0), strict=True))
        return _with_summary(Means(values, placebo), names, summary, places)

    return scarcest(counts, make)
