"""Rows -> the shape of every editability curve: tests per edit kind, method and strength axis, and one verdict per edit
kind.

python cli.py shape results/demo
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from editing.lazy import pandas as pd
from valley.scores import DEMANDS, AnalysisPlan, Available, available
from valley.statistics import SHAPES, holm, points
from valley.verdicts.judge import COLUMNS, NAMED, judge
from valley.verdicts.verdict import BEST, CONCORDANT, Verdict, verdict

CASES = 5  # that a rung needs to be part of a curve that is judged, however few `min_known` allows: one has no spread
ABOUT = ("ladder", "edit_kind", "family", "method", "axis", "counted", "grid")


@dataclass(frozen=True)
class Shapes:
    """Attributes:
    tests: one line per ladder, edit kind, family of models, method (BEST: the curve of the best method) and strength
        axis: ABOUT, the columns of `valley.verdicts.judge`, holm_SHAPE.
    verdicts: one per (ladder, edit kind).
    skipped: strength axes of the plan that a ladder does not state, one line each.
    plan: what was requested. caution: how it differs from the plan stored first; empty if it does not.
    """

    tests: pd.DataFrame
    verdicts: dict[tuple[str, str], Verdict]
    skipped: tuple[str, ...]
    plan: AnalysisPlan
    caution: str = ""

    def as_json(self) -> dict[str, object]:
        lines = self.tests.astype(object).where(self.tests.notna(), None).to_dict("records")
        verdicts = [
            {"ladder": ladder, "edit_kind": kind, "outcome": v.outcome, "text": v.text, "bound": _number(v.bound),
             "detectable": _number(v.detectable), "agreeing": [list(pair) for pair in v.agreeing]}
            for (ladder, kind), v in self.verdicts.items()
        ]  # fmt: skip
        return {"verdicts": verdicts, "tests": lines, "skipped": list(self.skipped), "plan_sha256": self.plan.digest,
                "caution": self.caution}  # fmt: skip


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def shapes(
    scored: Available | pd.DataFrame, plan: AnalysisPlan | None = None, caution: str = "", whole: bool = True
) -> Shapes:
    """Test every curve of a run.

    Args:
        scored: scores, or the rows of a run. Where nothing is above placebo the curves are of `scored.ruler`.
        whole: also what no rule uses (two lines, detectable depth), which costs most of the time.

    Raises:
        RowsError: the rows are not sound.
    """
    plan = plan or AnalysisPlan()
    scored = available(scored, plan) if isinstance(scored, pd.DataFrame) else scored
    j = scored.column(scored.ruler.name if scored.note and plan.metric == scored.metric else plan.metric)
    lines, values = scored.lines.assign(dev=scored.dev[:, j]), scored.values[:, j]
    few = np.isfinite(values) & (lines["n"] < CASES).to_numpy()
    result = judged(lines, np.where(few, np.nan, values), scored.samples[:, :, j], plan, caution, whole)
    rungs = lines.loc[few, "rung"].nunique()
    note = f"{rungs} rung{'s' * (rungs > 1)} of fewer than {CASES} cases not judged"
    return replace(result, skipped=(*result.skipped, note)) if rungs else result


def judged(
    lines: pd.DataFrame, values: np.ndarray, samples: np.ndarray, plan: AnalysisPlan, caution: str = "",
    whole: bool = True,
) -> Shapes:  # fmt: skip
    """The verdicts on one score, whatever it is.

    Args:
        lines: one line per ladder, rung, edit kind and method: these, `family`, `grid`, `dev` (what the method's chosen
            setting scores on development cases, by which the best method is chosen) and the axes of the plan.
        values: (lines,); NaN is not measured. samples: (lines, draws) of the bootstrap, the same draws in every line.
    """
    table = lines.reset_index(drop=True)
    table = table[np.isfinite(values)]
    tests, skipped = [], []
    for (ladder, kind, family), group in table.groupby(["ladder", "edit_kind", "family"], sort=False):
        whose = {"ladder": ladder, "edit_kind": kind, "family": family}
        name = f"{kind}, ladder {ladder}" + (f", {family} models" if _families(table, ladder, kind) > 1 else "")
        if group["size"].nunique() < 3 and _families(table, ladder, kind) > 1:
            skipped.append(f"{name}: {group['size'].nunique()} sizes, at least 3 needed for a curve")
            continue
        axes, notes = counted_axes(group, plan)
        skipped += [f"{name}: {note}" for note in notes]
        curves = {BEST: best_method(group)} | {str(m): part for m, part in group.groupby("method", sort=False)}
        depths: dict[bytes, float] = {}  # axes that order the sizes alike share the expensive simulation
        for method, curve in curves.items():
            at = curve.index.to_numpy()
            for axis, counted in axes.items():
                made = points(curve[axis], values[at], samples[at], list(curve["rung"]))
                key = made.variance.tobytes() + made.known.tobytes()
                line = judge(made, plan, detectable=depths.get(key), whole=whole)
                depths[key] = float(line["detectable"])
                grid = "" if method == BEST else curve["grid"].iloc[0]
                tests.append(whose | {"method": method, "axis": axis, "counted": counted, "grid": grid} | line)
    made = corrected(pd.DataFrame(tests, columns=[*ABOUT, *COLUMNS]))
    verdicts = {}
    for ladder, kind in lines[["ladder", "edit_kind"]].drop_duplicates().itertuples(index=False, name=None):
        verdicts[ladder, kind] = verdict(made[(made["ladder"] == ladder) & (made["edit_kind"] == kind)], plan)
    return Shapes(made, verdicts, tuple(skipped), plan, caution)


def _families(table: pd.DataFrame, ladder: object, kind: object) -> int:
    return table.loc[(table["ladder"] == ladder) & (table["edit_kind"] == kind), "family"].nunique()


def best_method(group: pd.DataFrame) -> pd.DataFrame:
    """Of each rung the line of the method that does best on development cases; where none has any, the first by
    name."""
    order = group.sort_values(["dev", "method"], ascending=[False, True], kind="stable", na_position="last")
    return order.drop_duplicates("rung").sort_index()


def counted_axes(group: pd.DataFrame, plan: AnalysisPlan) -> tuple[dict[str, bool], list[str]]:
    """The axes on which the sizes differ, the primary one first, and whether each counts; a note on those that do
    not."""
    sizes = group.groupby("size", sort=False)[list(plan.axes)].mean()
    axes, notes = {}, []
    for axis in plan.axes:
        if sizes[axis].nunique() < 3:
            notes.append(f"{axis} is stated for fewer than 3 strengths, so it is no axis{DEMANDS.get(axis, '')}")
            continue
        primary = next(iter(axes), axis)
        both = sizes[[primary, axis]].dropna()
        result: Any = None if axis == primary else kendalltau(both.iloc[:, 0], both.iloc[:, 1])
        tau = 1.0 if result is None else float(result.statistic)
        axes[axis] = tau >= CONCORDANT
        if not axes[axis]:
            notes.append(f"{axis} orders the sizes unlike {primary} (Kendall's tau {tau:.2f}), so it does not count")
    return axes, notes


def corrected(tests: pd.DataFrame) -> pd.DataFrame:
    """`tests` with holm_SHAPE: p of the best method's curve on an axis, corrected over the edit kinds, ladders and
    families of the run; NaN for single methods, which are support."""
    best = (tests["method"] == BEST) & tests["counted"].astype(bool)
    place = tests[best].groupby(["ladder", "edit_kind", "family"], sort=False).cumcount()  # of the axis: primary first
    out = {}
    for shape in NAMED:
        column = pd.Series(np.nan, index=tests.index)
        for _, index in place.groupby(place).groups.items():
            column.loc[index] = np.array(holm(tests.loc[index, f"p_{shape}"].tolist()))
        out[f"holm_{shape}"] = column
    return tests.assign(**out)


def format_shapes(result: Shapes) -> str:
    """The verdicts and their tests as text for a terminal of 120 columns."""
    out: list[str] = []
    for (ladder, kind), judged in result.verdicts.items():
        own = result.tests[(result.tests["ladder"] == ladder) & (result.tests["edit_kind"] == kind)]
        out += ["", f"{kind} edits, ladder {ladder}: {judged.text}"]
        if len(own):
            out += _block(own)
    out += [
        "",
        f"{result.plan.metric}, at least {result.plan.min_known} cases a rung; analysis plan {result.plan.digest[:12]}",
    ]
    out.append(
        "D: prominence; p against the best monotone curve; weight: BIC's; bound: no valley is deeper (95%); smallest:"
    )
    out.append("valley found 80% of the time; tau: sd between training seeds, ? where no size has two.")
    out += result.skipped
    if result.caution:
        out.append(f"Caution: {result.caution}.")
    return "\n".join(out[1:])


def _block(tests: pd.DataFrame) -> list[str]:
    head = ["method", "axis", "sizes", "models", "tau", *(f"{s} D, p" for s in SHAPES), "falls p", "best (weight)",
            "2 lines", "bound", "smallest"]  # fmt: skip
    rows = []
    for line in tests.to_dict("records"):
        best = f"{line['best']} {line['weight_' + line['best']]:.2f}" if line["best"] else "n/a"
        rows.append([
            line["method"], line["axis"].replace("_", " "), str(line["n_sizes"]), str(line["n_models"]),
            "?" if np.isnan(line["tau2"]) else f"{np.sqrt(line['tau2']):.3f}",
            *(f"{_text(line[f'D_{s}'], 2)}, {_text(line[f'p_{s}'])}" for s in SHAPES),
            _text(line[f"p_{NAMED[0]}"]), best, _text(line["p_two_lines"]), _text(line["bound"]),
            ("" if line["df"] else ">") + _text(line["detectable"]),
        ])  # fmt: skip
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return ["  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)]


def _text(value: float, digits: int = 3) -> str:
    return "n/a" if pd.isna(value) else f"{value:.{digits}f}"
