"""Rows -> the shape of every editability curve: tests per edit kind, method and strength axis, and one verdict per edit
kind.

python cli.py shape results/demo
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from valley.scores import DEMANDS, AnalysisPlan, Available, available
from valley.statistics import SHAPES, points
from valley.verdicts.judge import COLUMNS, NAMED, judge
from valley.verdicts.verdict import Verdict, verdict


@dataclass(frozen=True)
class Shapes:
    """Attributes:
    tests: one line per ladder, edit kind, method and strength axis, with the columns of `valley.verdicts.judge`.
    verdicts: one per (ladder, edit kind).
    skipped: strength axes of the plan that a ladder does not state, one line each.
    plan: what was asked. caution: how it differs from the plan stored first; empty if it does not.
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


def shapes(found: Available | pd.DataFrame, plan: AnalysisPlan | None = None, caution: str = "") -> Shapes:
    """Test every curve of a run.

    Args:
        found: scores, or the rows of a run.

    Raises:
        RowsError: the rows are not sound.
    """
    plan = plan or AnalysisPlan()
    found = available(found, plan) if isinstance(found, pd.DataFrame) else found
    table = found.of(plan.metric)
    lines, skipped = [], []
    depths: dict[bytes, float] = {}  # axes that order the rungs alike share the dear simulation
    for (ladder, kind), group in table.groupby(["ladder", "edit_kind"], sort=False):
        for axis in plan.axes:
            if group[axis].nunique() < 3:
                why = DEMANDS.get(axis, "")
                skipped.append(
                    f"{kind}, ladder {ladder}: {axis} is stated for fewer than 3 strengths, so it is no axis{why}"
                )
                continue
            for method, curve in group.groupby("method", sort=False):
                made = points(curve[axis], curve["value"], curve["se"] ** 2, list(curve["rung"]))
                about = {"ladder": ladder, "edit_kind": kind, "method": method, "axis": axis}
                key = made.variance.tobytes() + str(made.df).encode()
                line = judge(made, plan, detectable=depths.get(key))
                depths[key] = float(line["detectable"])
                lines.append(about | line)
    tests = pd.DataFrame(lines, columns=["ladder", "edit_kind", "method", "axis", *COLUMNS])
    verdicts = {}
    for ladder, kind in table[["ladder", "edit_kind"]].drop_duplicates().itertuples(index=False, name=None):
        mine = tests[(tests["ladder"] == ladder) & (tests["edit_kind"] == kind)]
        verdicts[ladder, kind] = verdict(mine, plan)
    return Shapes(tests, verdicts, tuple(skipped), plan, caution)


def format_shapes(found: Shapes) -> str:
    """The verdicts and their tests as text for a terminal of 120 columns."""
    out: list[str] = []
    for (ladder, kind), judged in found.verdicts.items():
        mine = found.tests[(found.tests["ladder"] == ladder) & (found.tests["edit_kind"] == kind)]
        out += ["", f"{kind} edits, ladder {ladder}: {judged.text}"]
        if len(mine):
            out += _block(mine)
    out += [
        "",
        f"{found.plan.metric}, at least {found.plan.min_known} cases a rung; analysis plan {found.plan.digest[:12]}",
    ]
    out.append(
        "D: prominence; p against the best monotone curve; weight: BIC's; bound: no valley is deeper (95%); smallest:"
    )
    out.append("valley found 80% of the time; tau: sd between training seeds, ? where no size has two.")
    out += found.skipped
    if found.caution:
        out.append(f"Caution: {found.caution}.")
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
