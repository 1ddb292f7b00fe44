"""What the newest edit's questions show before and after: every probe, every kind, how likely the candidates are."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from math import exp, isnan, nan

from benchmarks.cases import Case, Probe
from benchmarks.measure import Base, measure, measure_drift, probe_rows
from editing.delta import Delta
from editing.eval import continuation_logprobs
from editing.model import LanguageModel
from valley.rows import PROBE_KINDS

MOST_BARS = 8


@dataclass(frozen=True)
class Bar:
    """One candidate: its probability as a whole text before and after; `role`: new, old, kept or empty."""

    name: str
    before: float
    after: float
    role: str


@dataclass(frozen=True)
class Bars:
    """The candidates of one question, the likeliest first."""

    prompt: str
    lang: str
    kind: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class KindLine:
    """One kind of probe: how many were evaluated and measurable, how many answers moved, the mean score (NaN: none)."""

    kind: str
    count: int
    measurable: int
    moved: int
    score: float


@dataclass(frozen=True)
class Answers:
    """Everything about the newest edit.

    Attributes:
        rows: a record per probe, as `benchmarks.measure.probe_rows` makes it.
        kinds: a line per kind of probe, generalisation first.
        bars: of the first question of the edit in each language.
    """

    rows: tuple[dict, ...]
    kinds: tuple[KindLine, ...]
    bars: tuple[Bars, ...]

    def of_kind(self, *kinds: str) -> list[dict]:
        """The records of some kinds of probes."""
        return [row for row in self.rows if row["probe"] in kinds]


def answers_of(lm: LanguageModel, case: Case, base: Base, change: Delta) -> Answers:
    """Ask the questions of `case` with `change` in the weights; offloaded models are queried through hooks."""
    shown = _shown(case)
    before = _probabilities(lm, shown, Delta({}))
    with nullcontext() if lm.offloaded else change.applied(lm):
        # What the weights hold is not requested again; a context stands in the text only.
        outside = change if lm.offloaded else Delta({}, {}, change.context)
        after = measure(lm, [case], base.priors, [outside], [0], base.new_tokens)
        bars = _sorted_bars(shown, before, _probabilities(lm, shown, outside))
    drift = measure_drift(lm, [case], [change], [0])
    rows = tuple(probe_rows(case, base.answers[0], base.priors[0], after[0], drift[0]))
    return Answers(rows, _kinds(rows), bars)


def moved(row: dict) -> bool:
    """Whether the best candidate of a probe is another one after the edit."""
    return bool(row.get("pick_before")) and row["pick_before"] != row["pick_after"]


def _kinds(rows: tuple[dict, ...]) -> tuple[KindLine, ...]:
    lines = []
    for kind in PROBE_KINDS:
        chosen = [row for row in rows if row["probe"] == kind]
        scores = [row["value"] for row in chosen if not isnan(row["value"])]
        score = sum(scores) / len(scores) if scores else nan
        if chosen:
            lines.append(KindLine(kind, len(chosen), len(scores), sum(map(moved, chosen)), score))
    return tuple(lines)


def _shown(case: Case) -> list[Probe]:
    """Per language the first question about what is edited, the edit's own language first."""
    about = ("efficacy", "cross_lingual", "same_subject")
    first: dict[str, Probe] = {}
    for kind in about:
        for probe in case.probes:
            if probe.kind == kind and probe.candidates:
                first.setdefault(probe.lang, probe)
    return list(first.values())


def _probabilities(lm: LanguageModel, probes: list[Probe], change: Delta) -> list[list[float]]:
    logp = continuation_logprobs(lm, [p.prompt for p in probes], [p.candidates for p in probes], [change])
    return [[exp(value) for value in map(float, values)] for values in logp]


def _sorted_bars(probes: list[Probe], before: list[list[float]], after: list[list[float]]) -> tuple[Bars, ...]:
    groups = []
    for probe, old, new in zip(probes, before, after, strict=True):
        roles = {probe.old: "old", probe.answer: "kept" if probe.old == probe.answer else "new"}
        bars = [Bar(name, old[i], new[i], roles.get(i, "")) for i, name in enumerate(probe.candidates)]
        ranked = sorted(bars, key=lambda bar: (not bar.role, -max(bar.before, bar.after)))[:MOST_BARS]
        ranked.sort(key=lambda bar: -max(bar.before, bar.after))
        groups.append(Bars(probe.prompt, probe.lang, probe.kind, tuple(ranked)))
    return tuple(groups)
