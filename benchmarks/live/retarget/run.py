"""One concept's retargeting, live: how far every relation moved to the goal, how far the siblings went along, what else
broke.

The edits are those of a sweep (`Method.each`, evaluated through hooks), so the weights are never changed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.live.concepts import OpenModel
from benchmarks.live.defaults import usual_settings
from benchmarks.live.doubts import doubts
from benchmarks.live.retarget.panel import GOAL, Panel, Question, retarget_panel
from benchmarks.measure import (
    Answer,
    Base,
    measure,
    measure_base,
    measure_drift,
    planned,
    probe_rows,
    statistics_of,
)
from benchmarks.provenance import versions
from benchmarks.world import Knowledge
from editing.errors import BadRequest
from editing.eval import AUTO, at_dose, check_dose
from editing.lazy import pandas as pd
from editing.methods import make_method, taken_by, takers
from editing.model import format_plan
from editing.progress import announce
from editing.stats import CORPUS, refuse_missing_corpus

STEERING = "steer"
# A question whose own answer and goal the unedited model distinguishes by less, in nats, has no way to go: its share
# would be noise.
LEAST_DISTANCE = 0.5

QUESTIONS = (
    "by", "role", "about", "relation", "lang", "template", "prompt", "own", "goal", "pick_before", "pick_after",
    "text_before", "text_after", "margin_before", "margin_after", "distance",
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """One method's edit: where it was put, how large it is (Frobenius norm relative to the changed weights), at which
    dose (`Dose.record`), how long it took."""

    by: str
    settings: dict
    placement: dict
    edit_norm: float
    dose: dict
    seconds: float


@dataclass(frozen=True)
class Retargeting:
    """What retargeting one concept of one model did, by one method or several.

    Attributes:
        questions: QUESTIONS, one line per method and question. Margins are in nats, score of the goal's answer less
            that of the own one (`benchmarks.measure.answers`); `distance` is the goal's own margin in that frame less
            `margin_before`, before the edit.
        texts: by, lang, kind (drift, fluency), prompt, value (kept, in [0, 1]; NaN where not measurable), bits per byte
            or text before and after.
        known: whether the unedited model knew the concept's trained facts; None where no question can tell.
    """

    model: dict
    concept: str
    goal: str
    siblings: tuple[str, ...]
    made: tuple[Made, ...]
    questions: pd.DataFrame
    texts: pd.DataFrame
    known: bool | None
    left_out: tuple[str, ...]
    langs: tuple[str, ...]
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict:
        """With null for what is not measurable: JSON has no NaN."""
        whole = {key: value for key, value in vars(self).items() if key not in ("made", "questions", "texts")}
        return whole | {
            "made": [asdict(one) for one in self.made],
            "questions": plain_records(self.questions.assign(moved=moved(self.questions))),
            "texts": plain_records(self.texts),
        }


def plain_records(frame: pd.DataFrame) -> list[dict]:
    """The lines of a table as JSON can hold them."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def moved(questions: pd.DataFrame) -> pd.Series:
    """How far each question went to the goal: 0 not at all, 1 to where the goal itself stands; NaN where there is no
    way to go.

    (margin after - margin before) / distance. Below 0 it went away, above 1 beyond.
    """
    way = questions["distance"].where(questions["distance"] >= LEAST_DISTANCE)
    return (questions["margin_after"] - questions["margin_before"]) / way


def share(questions: pd.DataFrame) -> float:
    """`moved` of many questions together: nats gone over nats to go, so that short ways do not outweigh long ones; NaN
    without any, and where one of them is no number."""
    there = questions[questions["distance"] >= LEAST_DISTANCE]
    return (
        float((there["margin_after"] - there["margin_before"]).sum(skipna=False) / there["distance"].sum())
        if len(there)
        else np.nan
    )


def run_retarget(
    reference: str | OpenModel,
    a: str,
    b: str,
    by: Sequence[str] = ("rome",),
    settings: Mapping[str, object] | None = None,
    device: str | None = None,
    seed: int = 0,
    corpus: str = CORPUS,
    known: Knowledge | None = None,
    dose: str | float = AUTO,
) -> Retargeting:
    """Make the concept called `a` behave as the one called `b` in one model, by each of the methods `by` on its own.

    Args:
        settings: given to every method that has them, instead of the usual ones of retargets.
        reference: of the model, or one that was used before.
        known: the concepts, of a file of one's own; None takes those of the suite.
        dose: "auto" or a number, for each of the edits; see editing/eval/dose.py.

    Raises:
        UserError: an unknown method, setting, concept or model; an edit that cannot be made. Before the model is loaded
            where it can be.
    """
    panel, settings, dose = retarget_panel(a, b, seed, known), settings or {}, check_dose(dose)
    methods = chosen_methods(by, settings)
    refuse_missing_corpus(corpus)
    model = reference if isinstance(reference, OpenModel) else OpenModel(reference, device)
    lm = model()
    lm, plan = planned(lm, methods, [panel.case.request])
    announce(format_plan(plan))
    base = measure_base(lm, [panel.case])
    statistics = statistics_of(lm, seed, corpus)
    deltas, made = [], []
    notes: list[str] = []
    for method in methods:
        began = time.perf_counter()
        (whole,) = method.each(lm, [panel.case.request], statistics)
        delta, chosen = at_dose(lm, whole, [panel.case.request], dose)
        deltas.append(delta)
        notes += [f"{method.name}: {doubt}" for doubt in doubts(lm, statistics, delta)]
        place = asdict(method.placement_of(lm, panel.case.request, whole))
        seconds = time.perf_counter() - began
        norm = delta.relative_norm(lm)
        made.append(Made(method.name, method.settings(), place, norm, chosen.record(), seconds))
    cases = [panel.case] * len(deltas)
    after = measure(lm, cases, base.priors * len(deltas), deltas, new_tokens=base.new_tokens)
    drift = measure_drift(lm, cases, deltas)
    lines: list[dict] = []
    texts: list[dict] = []
    for one, said, drifts in zip(made, after, drift, strict=True):
        rows = probe_rows(panel.case, base.answers[0], base.priors[0], said, drifts)
        lines += [{"by": one.by} | line for line in _question_lines(panel, base, said, rows)]
        texts += [{"by": one.by} | _text_line(row) for row in rows[len(panel.questions) :]]
    return Retargeting(
        model={"reference": model.reference, "source": lm.source, "hash": lm.weight_hash, "layers": lm.n_layers,
               "parameters": lm.n_parameters},
        concept=panel.concept, goal=panel.goal, siblings=panel.siblings, made=tuple(made),
        questions=pd.DataFrame(lines, columns=list(QUESTIONS)), texts=pd.DataFrame(texts), known=base.known[0],
        left_out=panel.left_out, langs=panel.langs, versions=versions(), notes=tuple(notes),
    )  # fmt: skip


def chosen_methods(by: Sequence[str], settings: Mapping[str, object]):
    """The methods called `by` with those of `settings` that each has, else with what retargets usually have.

    Raises:
        BadRequest: none, an unknown one, or a setting that none of them has.
    """
    if not by:
        raise BadRequest("no method to retarget by; name one or several, such as --by rome,steer")
    for key in settings:
        takers(by, key)  # refuses one that no method has
    given = {name: taken_by(name, settings) for name in by}
    return [make_method(name, **(usual_settings("retarget", name, own) | own)) for name, own in given.items()]


def _margins(panel: Panel, said: Sequence[Answer | None], base: Base) -> list[float]:
    """Nats: score of the goal's answer less that of the own one, per question."""
    out = []
    for question, answer, prior in zip(panel.questions, said, base.priors[0], strict=False):
        assert answer is not None and prior is not None  # a question has candidates
        score, names = answer.logp - prior, question.probe.candidates
        out.append(float(score[names.index(question.goal)] - score[names.index(question.own)]))
    return out


def _question_lines(panel: Panel, base: Base, said: Sequence[Answer | None], rows: Sequence[dict]) -> list[dict]:
    before, after = (_margins(panel, answers, base) for answers in (base.answers[0], said))
    way = {_start(q): margin for q, margin in zip(panel.questions, before, strict=True) if q.role == GOAL}
    lines = []
    for question, was, now, row in zip(panel.questions, before, after, rows, strict=False):
        line = {key: getattr(question, key) for key in QUESTIONS if hasattr(question, key)}
        line |= {key: row[key] for key in QUESTIONS if key in row and key not in line}
        to_go = way[_start(question)] - was if question.own != question.goal and question.role != GOAL else np.nan
        lines.append(line | {"margin_before": was, "margin_after": now, "distance": to_go})
    return lines


def _start(question: Question) -> tuple:
    """The frame and the answer that is left: what a question shares with the goal's question that measures its
    distance."""
    return *question.frame, question.own


def _text_line(row: dict) -> dict:
    line = {"lang": row["lang"], "kind": row["probe"], "prompt": row["prompt"], "value": row["value"]}
    return line | {
        f"{what}_{when}": row.get(f"{what}_{when}") for what in ("text_bits", "text") for when in ("before", "after")
    }
