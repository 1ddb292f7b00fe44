"""Two runs, case by case: paired differences with intervals. B less A, on the cases that both runs measured and whose
fact both knew.

Pairs are compared probe kind by probe kind: a kind that one run could not measure in a case counts for neither.
Bootstrap: relations are redrawn, the same in both runs and at every rung; where rungs are pooled, the spread of sizes
(of a single size: of its models) counts too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import (
    CASE,
    CONTROLS,
    IN_LANGUAGE,
    KEPT,
    NET,
    PROBE_KINDS,
    RUNG,
    STRATA,
    RowsError,
    kind_order,
)
from valley.scores import Resampler, case_scores, choose, matching, on_split
from valley.statistics import harmonic, mean_interval, scarcest, size_of

BY = ("method", "ladder", "kind")
PAIRING = ("method", "setting")
# Not above placebo: of a difference between two runs the placebo is the same part.
MEASURES: tuple[str, ...] = ("generalisation", "specificity", "score", *PROBE_KINDS, NET)
MEANS = tuple(name for name in MEASURES if name != "score")
CELL = ("rung", "edit_kind", "method")
GROUPS = {"method": ("method",), "ladder": ("rung",), "kind": ("edit_kind",), "": CELL}
TOGETHER = "all"


@dataclass(frozen=True)
class Comparison:
    """What two runs say of the same cases.

    Attributes:
        table: rung, edit_kind, method (TOGETHER where pooled), measure, a, b, difference (b - a), low, high (95%),
            n_pairs, n_rungs (that have the measure), these_only (bool: the interval holds for these models only).
        only_a, only_b: edited cases that the other run lacks. unknown: paired ones outside the stratum in one of the
            runs.
        notes: what was left out or paired in an unusual way, a line each.
    """

    table: pd.DataFrame
    pairs: int
    only_a: int
    only_b: int
    unknown: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Cell:
    """A rung, edit kind and method: (2, k) estimates of A and B, (2, draws, k) samples; how many `pairs` (k,) and
    `units` (k,), relations or pairs of a single one, have each measure."""

    key: dict
    value: np.ndarray
    drawn: np.ndarray
    pairs: np.ndarray
    units: np.ndarray


def compare(
    rows_a: pd.DataFrame,
    rows_b: pd.DataFrame,
    by: str = "",
    pair: str = "method",
    which: str = "known",
    min_known: int = 50,
    draws: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two runs case by case; controls (placebo, random site) take no part.

    Args:
        by: one of BY: a line per method, per rung of the ladder or per edit kind; "" a line per rung, kind and method.
        pair: "method": each run at the setting that it chose for the method on its dev cases, scored as its curve is;
            "setting": the settings that both runs have, on all cases, averaged.
        which: stratum, of both runs. min_known: a rung, kind and method with fewer pairs is not measurable.

    Raises:
        RowsError: unsound rows, an unknown option, several ladders in one run, nothing in common.
    """
    for what, value, there in (("--by", by or BY[0], BY), ("--pair", pair, PAIRING), ("--which", which, STRATA)):
        if value not in there:
            raise RowsError(f"no {what} {value!r}; use one of {', '.join(there)}")
    edits = [_edits(rows, name, pair) for rows, name in ((rows_a, "A"), (rows_b, "B"))]
    notes: list[str] = []
    alone = [sorted(set(table["method"])) for table in edits]
    if len(alone[0]) == len(alone[1]) == 1 and alone[0] != alone[1]:
        across = f"{alone[0][0]}|{alone[1][0]}"
        edits = [table.assign(method=across) for table in edits]
        notes.append(f"each run has one method: {alone[0][0]} in A is paired with {alone[1][0]} in B")
    keys = [*CELL, *CASE, *(["settings"] if pair == "setting" else [])]
    both = edits[0].merge(edits[1], on=keys, how="outer", suffixes=("_a", "_b"), indicator=True, validate="one_to_one")
    met = both[both["_merge"] == "both"]
    if met.empty:
        raise RowsError(
            "the runs have no edited case in common; they need a rung, an edit kind and a method that both have"
        )
    inside = np.ones(len(met), bool) if which == "all" else (met[f"{which}_a"] & met[f"{which}_b"]).to_numpy(bool)
    cells, small = _cells(_masked(met[inside]), min_known, draws, seed)
    notes += small
    order = {str(rung): int(i) for rung, i in met.groupby("rung")["rung_index_a"].first().items()}
    only = both["_merge"].value_counts()
    return Comparison(
        table=_table(cells, GROUPS[by], order),
        pairs=int(inside.sum()),
        only_a=int(only["left_only"]),
        only_b=int(only["right_only"]),
        unknown=int((~inside).sum()),
        notes=tuple(notes),
    )


def _edits(rows: pd.DataFrame, name: str, pair: str) -> pd.DataFrame:
    """Case scores that take part: without controls and, pairing by method, only those of the setting the run chose."""
    if rows["ladder"].nunique() > 1:
        raise RowsError(f"run {name} has {rows['ladder'].nunique()} ladders; compare runs of one ladder each")
    scores = case_scores(rows)
    scores = scores[~scores["method"].isin(CONTROLS)]
    if pair == "setting" or scores.empty:
        return scores
    parts = []
    for method, part in scores.groupby("method", observed=True):
        tried = rows.loc[rows["method"] == method, [*RUNG, "edit_kind", "method", "settings"]].drop_duplicates()
        for pick in choose(part, tried).to_dict("records"):
            here = matching(part, {key: pick[key] for key in (*RUNG, "edit_kind", "settings")})
            parts.append(on_split(here, pick["scored_on"]))
    return pd.concat(parts, ignore_index=True) if parts else scores.iloc[:0]


def _masked(met: pd.DataFrame) -> pd.DataFrame:
    """Pairs with NaN in both where one is NaN, the summaries made anew of what both have; one line per case, settings
    averaged."""
    sides = {s: met[[f"{name}_{s}" for name in (*PROBE_KINDS, NET)]].to_numpy(float) for s in ("a", "b")}
    lacking = np.isnan(sides["a"]) | np.isnan(sides["b"])
    out = met[[*CELL, *CASE]].assign(cluster=met["cluster_a"])
    for side, values in sides.items():
        frame = pd.DataFrame(np.where(lacking, np.nan, values), columns=[*PROBE_KINDS, NET], index=met.index)
        frame["generalisation"] = frame[list(IN_LANGUAGE)].mean(axis=1)
        frame["specificity"] = frame[list(KEPT)].mean(axis=1)
        out = out.join(frame.add_suffix(f"_{side}"))
    return out.groupby([*CELL, *CASE, "cluster"], observed=True).mean().reset_index()


def _cells(pairs: pd.DataFrame, min_known: int, draws: int, seed: int) -> tuple[list[_Cell], list[str]]:
    """Every rung, kind and method with enough pairs, all under the same draws of cases; a line per one with too few."""
    numbers = pairs.groupby(["edit_kind", *CASE], observed=True).ngroup()
    resampler = Resampler(pairs.assign(ladder="", pair=numbers), draws, seed)
    cells, small = [], []
    for key, part in pairs.assign(pair=numbers).groupby(list(CELL), observed=True):
        if len(part) < max(min_known, 1):
            small.append(f"left out: {' '.join(map(str, key))}: {len(part)} pairs, {min_known} needed")
            continue
        sides = [resampler.means(part, [f"{name}_{side}" for name in MEANS]) for side in ("a", "b")]
        value = np.stack([_derived(side.value[None])[0] for side in sides])
        drawn = np.stack([_derived(side.samples) for side in sides])
        counts = (scarcest(n, _derived) for n in (sides[0].cases, sides[0].units))  # the same in both
        cells.append(_Cell(dict(zip(CELL, key, strict=True)), value, drawn, *counts))
    return cells, small


def _derived(means: np.ndarray) -> np.ndarray:
    """(n, MEANS) -> (n, MEASURES): floor the net transfer as curves do, add the harmonic mean of the mean scores."""
    columns = {name: means[:, i] for i, name in enumerate(MEANS)}
    columns[NET] = np.maximum(columns[NET], 0)
    columns["score"] = harmonic(columns["generalisation"], columns["specificity"])
    return np.column_stack([columns[name] for name in MEASURES])


def _table(cells: Sequence[_Cell], by: Sequence[str], order: dict[str, int]) -> pd.DataFrame:
    columns = [*CELL, "measure", "a", "b", "difference", "low", "high", "n_pairs", "n_rungs", "these_only"]
    groups: dict[tuple, list[_Cell]] = {}
    for cell in sorted(cells, key=lambda c: (order[c.key["rung"]], kind_order(c.key["edit_kind"]), c.key["method"])):
        groups.setdefault(tuple(cell.key[name] for name in by), []).append(cell)
    lines = _lines(dict.fromkeys(CELL, TOGETHER), cells) if cells else []
    for key, part in groups.items():
        if len(groups) > 1 or by != CELL:
            lines += _lines(dict.fromkeys(CELL, TOGETHER) | dict(zip(by, key, strict=True)), part)
    return pd.DataFrame(lines, columns=columns)


def _lines(about: dict, cells: Sequence[_Cell]) -> list[dict]:
    """One line per measure: unweighted mean over the cells of a rung, over the seeds of a size, over sizes."""
    lines = []
    for j, measure in enumerate(MEASURES):
        part = [cell for cell in cells if not np.isnan(cell.value[:, j]).any()]
        line = about | {"measure": measure, "n_pairs": sum(int(cell.pairs[j]) for cell in part)}
        sizes: dict[str, dict[str, list[_Cell]]] = {}
        for cell in part:
            sizes.setdefault(size_of(cell.key["rung"]), {}).setdefault(cell.key["rung"], []).append(cell)
        line["n_rungs"] = sum(map(len, sizes.values()))
        if part:
            rungs = [
                [np.mean([c.value[:, j] for c in some], axis=0) for some in size.values()] for size in sizes.values()
            ]
            a, b = np.mean([np.mean(size, axis=0) for size in rungs], axis=0)
            gaps = [
                np.stack(
                    [np.mean([c.drawn[1, :, j] - c.drawn[0, :, j] for c in some], axis=0) for some in size.values()]
                )
                for size in sizes.values()
            ]
            each = [[side[1] - side[0] for side in size] for size in rungs]
            apart = np.array(each[0] if len(each) == 1 else [np.mean(size) for size in each])
            low, high = difference_interval(apart, gaps, min(int(cell.units[j]) for cell in part))
            line |= {"a": a, "b": b, "difference": b - a, "low": low, "high": high, "these_only": len(apart) < FEW}
        lines.append(line)
    return lines


FEW = 3  # models or sizes from which their own spread is known


def difference_interval(difference: np.ndarray, gaps: Sequence[np.ndarray], units: int) -> tuple[float, float]:
    """95% interval of a mean difference.

    Of n sizes (of one size: n models) it is Student's, over their spread and over relations (`mean_interval`). Fewer
    than FEW cannot tell their spread: the interval is then of these models, over other cases only, which
    `format_comparison` says.

    Args:
        difference: (n,) of each size, or of each model of a single size. gaps: (seeds, draws) samples per size. units:
            relations that were drawn; NaN from fewer than two.
    """
    samples = gaps[0] if len(gaps) == 1 else np.stack([size.mean(axis=0) for size in gaps])
    low, high = np.clip(mean_interval(difference, samples, units, len(difference) >= FEW), -1.0, 1.0)
    return float(low), float(high)


def format_comparison(comparison: Comparison) -> str:
    """One block per group, one line per measure that could be measured; `*` where the interval does not hold 0."""
    lines = [
        f"{comparison.pairs} pairs of edited cases; {comparison.only_a} only in A, {comparison.only_b} only in B, "
        f"{comparison.unknown} paired but "
        "unknown to a model before the edit",
        *comparison.notes,
    ]
    for key, block in comparison.table.groupby(list(CELL), sort=False):
        named = " ".join(str(part) for part in key if part != TOGETHER) or "everything together"
        shown = block.dropna(subset=["difference"])
        few = shown.loc[shown["these_only"].eq(True), "measure"]
        whose = "" if len(few) == len(shown) else f" of {', '.join(few)}"
        note = f"; intervals{whose} hold for these models only" if len(few) else ""
        n_pairs, n_rungs = block[["n_pairs", "n_rungs"]].max()
        lines += ["", f"{named}  ({n_pairs} pairs, {n_rungs} rungs{note})"]
        lines.append(f"  {'':<18}{'A':>7}{'B':>7}{'B - A':>8}   95% interval")
        for row in shown.to_dict("records"):
            spread = "n/a" if pd.isna(row["low"]) else f"[{row['low']:+.3f}, {row['high']:+.3f}]"
            mark = " *" if row["low"] > 0 or row["high"] < 0 else ""
            numbers = f"{row['a']:>7.3f}{row['b']:>7.3f}{row['difference']:>+8.3f}"
            lines.append(f"  {row['measure']:<18}{numbers}   {spread}{mark}")
    if comparison.table.empty:
        lines.append("nothing could be measured")
    lines += [
        "",
        "Intervals hold for each line alone: among twenty lines without any difference one is marked by chance.",
    ]
    return "\n".join(lines)
