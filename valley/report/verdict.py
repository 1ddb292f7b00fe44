"""The report's verdict: what the tests of the shape and the hypotheses say, ready to print."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from valley.hypotheses import Evidence, Result, judge
from valley.rows import ALL, CONTROLS, LABELS, RUNG
from valley.scores import Analysis, AnalysisPlan, available, ends_missed, format_ends, with_options
from valley.text import clean, number, short
from valley.verdicts import (
    INCONCLUSIVE,
    NAMED,
    Shapes,
    Specifications,
    format_sensitivity,
    format_strata,
    sensitivity,
    strata,
    what_decides,
)


@dataclass(frozen=True)
class Judged:
    """A run before its judges: the tests run when first asked for, once.

    Attributes:
        analysis: the curve. crispness: a table for the hypotheses that need one, or None.
        caution: what `valley.scores.plan.stored` said of the analysis plan.
    """

    analysis: Analysis
    crispness: pd.DataFrame | None = None
    caution: str = ""

    @property
    def plan(self) -> AnalysisPlan:
        options = self.analysis.options
        return with_options(min_known=options["min_known"], bootstrap=options["draws"] or None, seed=options["seed"],
                            which=options["which"])  # fmt: skip

    @property
    def only_controls(self) -> bool:
        """Whether nothing was edited in earnest, so that there is nothing to judge."""
        return set(self.analysis.rows["method"].unique()) <= {*CONTROLS, ""}

    @cached_property
    def evidence(self) -> Evidence:
        scored = available(self.analysis.rows, self.plan, self.analysis.scores)
        return Evidence(scored, self.plan, self.crispness)

    @cached_property
    def shapes(self) -> Shapes | None:
        return None if self.only_controls else self.evidence.shapes

    @cached_property
    def specifications(self) -> Specifications | None:
        """The verdict under every composite."""
        return None if self.only_controls else self.evidence.specifications

    @cached_property
    def strata(self) -> list[str]:
        """How many cases each stratum has, and the verdicts on the paired one, in words."""
        if self.only_controls:
            return []
        scored, plan = self.evidence.found, self.plan
        paired = sensitivity(self.analysis.rows, scored, plan)
        return [*format_strata(strata(scored), plan.which), *format_sensitivity(paired, plan.min_known)]

    @cached_property
    def grid(self) -> list[str]:
        """Where the layers tried do not reach the same ends of every model, in words."""
        return [] if self.only_controls else format_ends(ends_missed(self.analysis.rows))

    @cached_property
    def hypotheses(self) -> list[Result]:
        return [] if self.only_controls else judge(self.evidence)


def verdict(judged: Judged) -> dict[str, Any]:
    """What was found, in plain words.

    Returns:
        `headline`, `detail`, `shapes`: one line per ladder and edit kind; `depths`: the smallest valley that each could
        have shown.
    """
    curve, rows = judged.analysis.curve, judged.analysis.rows
    kinds = [k for k in dict.fromkeys(curve["edit_kind"]) if k != ALL]
    shown = curve[curve["edit_kind"] == ALL].dropna(subset=["harmonic_mean"])
    n_probes = int((rows["error"] == "").sum())
    what = f"{_count(len(curve.drop_duplicates(list(RUNG))), 'rung')}, {_count(len(kinds), 'edit kind')}"
    detail = (
        f"Measured: {what} ({', '.join(kinds) or 'none'}), {len(judged.analysis.scores):,} edits, {n_probes:,} probes. "
    )
    shapes, every = judged.shapes, judged.specifications
    alone = {} if shapes is None else shapes.verdicts
    verdicts = {} if every is None else {key: one.verdict for key, one in every.combined.items()}
    metric = LABELS.get(judged.plan.metric, judged.plan.metric)
    lines = [f"{whose}: {v.text}." for whose, v in zip(_whose(shapes), verdicts.values(), strict=True)]
    lines += [] if every is None else [f"{line[0].upper()}{line[1:]}." for line in what_decides(every.table)]
    lines += [f"{who}, {metric} alone: {v.text}." for who, v in zip(_whose(shapes), alone.values(), strict=True)]
    lines += [f"{line[0].upper()}{line[1:]}." for line in (*judged.strata, *judged.grid)]
    if judged.caution:
        lines.append(f"Caution: {judged.caution}.")
    out = {"detail": f"{detail}{_span(shown)}".strip(), "shapes": lines, "depths": _depths(shapes)}
    if len(shown) < 2:
        n = "only one rung" if len(shown) else "no rung"
        return out | {"headline": f"No verdict: {n} could be measured over all edit kinds."}
    named = {v.outcome for v in verdicts.values()}
    if named <= {INCONCLUSIVE}:
        return out | {"headline": "No verdict on the valley: what was measured is inconclusive."}
    headline = "; ".join(f"{kind}: {v.outcome}" for (_, kind), v in verdicts.items()) + "."
    return out | {"headline": headline[0].upper() + headline[1:]}


def _span(shown: pd.DataFrame) -> str:
    """The weakest and the strongest score in a sentence, and whether their intervals overlap."""
    if len(shown) < 2:
        return "The reasons stand in the table below."
    values = shown["harmonic_mean"].to_numpy()
    low, high = shown.iloc[int(values.argmin())], shown.iloc[int(values.argmax())]
    text = " and ".join(
        f"{number(r['harmonic_mean'])}{_range(r)} at {short(clean(r['rung']), 40)}" for r in (low, high)
    )
    text = f"Over all kinds, the best harmonic mean of generalisation and specificity lies between {text}."
    if pd.isna(low["harmonic_mean_high"]) or pd.isna(high["harmonic_mean_low"]):
        return text
    apart = low["harmonic_mean_high"] < high["harmonic_mean_low"]
    return f"{text} Their intervals {'do not ' if apart else ''}overlap."


def _depths(shapes: Shapes | None) -> list[dict[str, str]]:
    """Per ladder and edit kind the minimum detectable depth, of a test with 80% power."""
    if shapes is None:
        return []
    out = []
    for whose, (key, judged) in zip(_whose(shapes), shapes.verdicts.items(), strict=True):
        tests = shapes.tests[(shapes.tests["ladder"] == key[0]) & (shapes.tests["edit_kind"] == key[1])]
        more = "" if (tests["df"] > 0).any() else "more than "
        text = "unknown: too few sizes" if np.isnan(judged.detectable) else f"{more}{judged.detectable:.2f}"
        out.append({"whose": whose, "depth": text})
    return out


def _whose(shapes: Shapes | None) -> list[str]:
    """What each verdict is about; the ladder is named where there are several."""
    keys = [] if shapes is None else list(shapes.verdicts)
    several = len({ladder for ladder, _ in keys}) > 1
    return [f"{kind} edits{f', ladder {ladder}' if several else ''}" for ladder, kind in keys]


def tests(judged: Judged) -> list[dict[str, Any]]:
    """The test of every curve as cells of a table."""
    lines = [] if judged.shapes is None else judged.shapes.tests.to_dict("records")
    return [
        {
            "kind": line["edit_kind"], "method": line["method"], "axis": line["axis"].replace("_", " "),
            "sizes": f"{line['n_sizes']} ({line['n_models']})",
            "tau": "unknown" if np.isnan(line["tau2"]) else f"{np.sqrt(line['tau2']):.3f}",
            "p": [_number(line[f"p_{shape}"]) for shape in NAMED],
            "best": f"{line['best']} ({line['weight_' + line['best']]:.2f})" if line["best"] else "n/a",
            "bound": _number(line["bound"]), "detectable": ("" if line["df"] else ">") + _number(line["detectable"]),
        }
        for line in lines
    ]  # fmt: skip


def hypotheses_table(judged: Judged) -> list[dict[str, str]]:
    """Every hypothesis with its effect, interval, corrected p and verdict."""
    out = []
    for result in judged.hypotheses:
        finding = result.finding
        effect = "" if finding is None else f"{finding.effect:.3f}"
        spread = "" if finding is None else f"{finding.low:.3f} to {finding.high:.3f}"
        n = "" if finding is None else f"{finding.n} {finding.unit}"
        note = "" if finding is None or finding.note == result.reason else finding.note
        out.append({"id": result.id, "statement": result.statement, "statistic": result.statistic, "test": result.test,
                    "verdict": result.verdict, "effect": effect, "range": spread, "n": n, "p": _number(result.p_holm),
                    "reason": result.reason, "note": note})  # fmt: skip
    return out


def _number(value: float) -> str:
    return "n/a" if pd.isna(value) else f"{value:.3f}"


def _range(row: pd.Series) -> str:
    if pd.isna(row["harmonic_mean_low"]):
        return ""
    return f" ({number(row['harmonic_mean_low'])} to {number(row['harmonic_mean_high'])})"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
