"""The report's verdict: what the tests of the shape and the hypotheses say, ready to print."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np

from editing.lazy import pandas as pd
from valley.hypotheses import Evidence, Result, judge
from valley.rows import ALL, CONTROLS, RUNG
from valley.scores import Analysis, AnalysisPlan, available, by_name, ends_missed, format_ends, format_regret
from valley.text import number, rung_cell
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

UNKNOWN = "unknown (too few sizes)"  # the depth of a valley that could have been seen


@dataclass(frozen=True)
class Judged:
    """A run before its judges: the tests run when first requested, once.

    Attributes:
        analysis: the curve. crispness, readings: tables for the hypotheses that need one, or None.
        caution: what `valley.scores.plan.stored` said of the analysis plan. stated: that plan, or the default one.
    """

    analysis: Analysis
    crispness: pd.DataFrame | None = None
    caution: str = ""
    stated: AnalysisPlan = field(default_factory=AnalysisPlan)
    readings: pd.DataFrame | None = None

    @property
    def plan(self) -> AnalysisPlan:
        """The stated plan with the options of the analysis."""
        options = self.analysis.options
        taken = {name: options[name] for name in ("min_known", "seed", "which", "metric")}
        return replace(self.stated, bootstrap=options["draws"] or self.stated.bootstrap, **taken)

    @property
    def only_controls(self) -> bool:
        """Whether nothing was edited in earnest, so that there is nothing to judge."""
        return set(self.analysis.rows["method"].unique()) <= {*CONTROLS, ""}

    @cached_property
    def evidence(self) -> Evidence:
        scored = available(self.analysis.rows, self.plan, self.analysis.scores)
        return Evidence(scored, self.plan, self.crispness, self.readings)

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
        scored, plan = self.evidence.scored, self.plan
        paired = sensitivity(self.analysis.rows, scored, plan)
        return [*format_strata(strata(scored), plan.which), *format_sensitivity(paired, plan)]

    @cached_property
    def regret(self) -> list[str]:
        """What the choice of settings on few cases may cost, in words."""
        return [] if self.only_controls else format_regret(self.evidence.scored.lines)

    @cached_property
    def grid(self) -> list[str]:
        """Where the layers tried do not reach the same ends of every model, in words."""
        return [] if self.only_controls else format_ends(ends_missed(self.analysis.rows))

    @cached_property
    def hypotheses(self) -> list[Result]:
        return [] if self.only_controls else judge(self.evidence)


def verdict(judged: Judged) -> dict[str, Any]:
    """What was shapes, in plain words.

    Returns:
        `headline`; `lede`: three sentences (what was measured and where the score is lowest and highest, what the
        verdicts are, how small a valley could have been missed); `shapes`: one line per ladder and edit kind;
        `depths`: the smallest valley that each could have shown.
    """
    curve, rows = judged.analysis.curve, judged.analysis.rows
    kinds = [k for k in dict.fromkeys(curve["edit_kind"]) if k != ALL]
    shown = curve[curve["edit_kind"] != ALL].dropna(subset=["score"])
    shapes, every = judged.shapes, judged.specifications
    alone = {} if shapes is None else shapes.verdicts
    verdicts = {} if every is None else {key: one.verdict for key, one in every.combined.items()}
    lines = [f"{whose}: {v.text}." for whose, v in zip(_whose(shapes), verdicts.values(), strict=True)]
    lines += [] if every is None else [f"{line[0].upper()}{line[1:]}." for line in what_decides(every.table)]
    metric = judged.analysis.ruler.name
    lines += [f"{who}, {metric} alone: {v.text}." for who, v in zip(_whose(shapes), alone.values(), strict=True)]
    notes = [*judged.strata, *judged.regret, *judged.grid]
    lines += [f"{line[0].upper()}{line[1:]}." for line in notes]
    if judged.caution:
        lines.append(f"Caution: {judged.caution}.")
    what = f"{_count(len(curve.drop_duplicates(list(RUNG))), 'model')}, {len(judged.analysis.scores):,} edits"
    probes = int((rows["error"] == "").sum())
    measured = f"On {what} and {probes:,} probes, {_span(shown, kinds)}."
    depths = _depths(shapes)
    lede = [measured, _shared(verdicts, _whose(shapes)), _missed(depths)]
    out = {"lede": [line for line in lede if line], "shapes": lines, "depths": depths}
    if shown["rung"].nunique() < 2:
        n = "only one model" if len(shown) else "no model"
        return out | {"headline": f"No verdict: {n} could be measured."}
    named = {v.outcome for v in verdicts.values()}
    if named <= {INCONCLUSIVE}:
        return out | {"headline": "No verdict on the valley: what was measured is inconclusive."}
    headline = "; ".join(f"{kind}: {v.outcome}" for (_, kind), v in verdicts.items()) + "."
    return out | {"headline": headline[0].upper() + headline[1:]}


def _span(shown: pd.DataFrame, kinds: list[str]) -> str:
    """Per edit kind the weakest and the strongest score, as the end of a sentence."""
    parts = []
    for kind in kinds:
        part = shown[shown["edit_kind"] == kind]
        if part.empty:
            parts.append(f"that of {kind} edits could not be measured (reasons in the table)")
            continue
        low, high = (part.loc[cast(int, at)] for at in (part["score"].idxmin(), part["score"].idxmax()))
        ends = [f"{number(cast(float, r['score']))} at {rung_cell(str(r['rung']), 40)}" for r in (low, high)]
        alone = f"is {ends[0]}" if len(part) == 1 else f"lies between {' and '.join(ends)}"
        parts.append(f"that of {kind} edits {alone}")
    what = by_name(shown["metric"].iloc[0]).choice if len(shown) else ""
    head = "the score of the best setting" + (f" ({what})" if what else "")
    return f"{head}: {'; '.join(parts)}" if parts else f"{head} could not be measured"


def _shared(verdicts: dict, whose: list[str]) -> str:
    """The verdicts under all composites in a sentence, edit kinds with one verdict together."""
    groups: dict[str, list[str]] = {}
    for name, one in zip(whose, verdicts.values(), strict=True):
        groups.setdefault(one.text, []).append(name)
    texts = [f"{_listed(names)}: {text}" for text, names in groups.items()]
    return f"Under every defensible score together, {'; '.join(texts)}." if texts else ""


def _missed(depths: list[dict[str, str]]) -> str:
    """How deep a valley the run could have missed, as a sentence."""
    parts = [f"{one['depth']} ({one['whose']})" for one in depths if one["depth"] != UNKNOWN]
    unknown = [one["whose"] for one in depths if one["depth"] == UNKNOWN]
    shallowest = "the shallowest valley that this score would have shown 80% of the time"
    known = f"{shallowest} has a depth of {_listed(parts)}" if parts else ""
    missing = f"for {_listed(unknown)}, {'it' if parts else shallowest} is unknown (too few sizes)" if unknown else ""
    text = "; ".join(filter(None, [known, missing]))
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _listed(names: list[str]) -> str:
    """a, b and c; `edits` is said once where all names end in it."""
    if len(names) > 1 and all(name.endswith(" edits") for name in names):
        return f"{_listed([name.removesuffix(' edits') for name in names])} edits"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _depths(shapes: Shapes | None) -> list[dict[str, str]]:
    """Per ladder and edit kind the minimum detectable depth, of a test with 80% power."""
    if shapes is None:
        return []
    out = []
    for whose, (key, judged) in zip(_whose(shapes), shapes.verdicts.items(), strict=True):
        tests = shapes.tests[(shapes.tests["ladder"] == key[0]) & (shapes.tests["edit_kind"] == key[1])]
        more = "" if (tests["df"] > 0).any() else "more than "
        text = UNKNOWN if np.isnan(judged.detectable) else f"{more}{judged.detectable:.2f}"
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


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
