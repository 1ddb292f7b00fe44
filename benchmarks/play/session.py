"""One visitor: a model and a stack of edits of it. What the page shows is computed here, without the page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.live import OpenModel
from benchmarks.measure import Base, measure_base, planned
from benchmarks.play.answers import Answers, answers_of
from benchmarks.play.choice import Choice
from benchmarks.play.continuation import Continuation
from benchmarks.play.localiser import localise
from benchmarks.play.saving import export
from benchmarks.play.workshop import Progress, Workshop, stoppable
from benchmarks.readings import HeatMap
from editing.delta import Delta, compose
from editing.errors import BadRequest
from editing.eval import Dose, at_dose
from editing.methods import make_method
from editing.model import LanguageModel
from editing.text import edit_set

TOKENS = 40  # of a free text
AT_ONCE = 4  # tokens written before others may use the model


@dataclass(frozen=True)
class Edit:
    """One edit of the stack.

    Attributes:
        choice: what was requested, its dose a number where the edit has doses.
        case: the request and its questions.
        change: at dose 1; it was computed once, on the unedited model.
        place: where the method edits, in words. dose: how the dose was chosen.
        base: what the unedited model answers.
    """

    choice: Choice
    case: Case
    change: Delta
    place: str
    dose: Dose
    base: Base


class Session:
    """What one visitor has done; `workshop` is shared by all.

    Attributes:
        reference: of the chosen model; empty before one is open.
        layers: its number of blocks.
        stack: the edits, oldest first.
        stop: set it to end the running work of this session.
    """

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.reference, self.layers = "", 0
        self.stack: tuple[Edit, ...] = ()
        self.stop = threading.Event()

    @contextmanager
    def _model(
        self, progress: Progress | None = None, reference: str = ""
    ) -> Iterator[tuple[OpenModel, LanguageModel]]:
        """The model, for this visitor alone, until the work is stopped."""
        with self.workshop.working(self.stop, progress):
            name = reference or self.reference
            if not name:
                raise BadRequest("no model is open; choose one")
            self.workshop.report("loading the model")
            opened = self.workshop.model(name)
            with stoppable(opened(), self.stop):
                yield opened, opened()

    def open(self, reference: str, progress: Progress | None = None) -> None:
        """Choose the model; edits of another one are dropped.

        Raises:
            BadModel: as `Workshop.model`; the model chosen before stays.
        """
        self.stop.clear()
        with self._model(progress, reference) as (opened, lm):
            if opened.reference != self.reference:
                self.stack = ()
            self.reference, self.layers = opened.reference, lm.n_layers

    def make(self, choice: Choice, progress: Progress | None = None) -> Edit:
        """Compute an edit on the unedited model and put it on the stack.

        Raises:
            UserError: an edit that cannot be made; the stack stays as it is.
        """
        self.stop.clear()
        with self._model(progress) as (opened, lm):
            self.workshop.report("reading the edit")
            case = choice.case(opened)
            method = make_method(choice.method, **choice.settings(lm.n_layers))
            lm, _ = planned(lm, [method], [case.request])
            self.workshop.report("asking before the edit")
            base = measure_base(lm, [case])
            self.workshop.report("editing")
            change = method(lm, [case.request], self.workshop.statistics(opened, choice.corpus, choice.seed))
            self.workshop.report("choosing the dose")
            _, dose = at_dose(lm, change, [case.request], choice.first_dose())
            if dose.value is not None:
                choice = choice.at(dose.value)
            place = method.placement_of(lm, case.request, change)
            where = f"{place.site} at {place.lookup}, layer {', '.join(map(str, place.layers))} of {lm.n_layers}"
            edit = Edit(choice, case, change, where, dose, base)
        self.stack = (*self.stack, edit)
        return edit

    def localise(self, choice: Choice, progress: Progress | None = None) -> HeatMap:
        """Where the unedited model looks up what an edit is about; the edit is not made.

        Raises:
            UserError: an edit that is none, or whose question does not name what it is about.
        """
        self.stop.clear()
        with self._model(progress) as (opened, lm):
            self.workshop.report("reading the edit")
            return localise(lm, choice.case(opened), partial(self.workshop.report, "tracing, layers"))

    def set_dose(self, dose: float) -> None:
        """Take the newest edit at another dose; nothing is computed again.

        Raises:
            BadRequest: no edit yet, a negative dose, or an edit without doses.
        """
        *earlier, newest = self._edits()
        if not newest.change.has_dose:
            raise BadRequest(f"method {newest.choice.method}: its edits have no multiples; undo it to be without it")
        newest = replace(newest, choice=newest.choice.at(float(dose)), dose=Dose(float(dose)))
        self.stack = (*earlier, newest)

    def undo(self) -> Edit:
        """Take the newest edit off the stack: the edit.

        Raises:
            BadRequest: no edit yet.
        """
        *earlier, newest = self._edits()
        self.stack = tuple(earlier)
        return newest

    def change(self) -> Delta:
        """The sum of all edits of the stack, each at its dose; no change where there is none."""
        parts = [_dosed(edit) for edit in self.stack]
        return Delta({}) if not parts else parts[0] if len(parts) == 1 else compose(parts)

    def answers(self, progress: Progress | None = None) -> Answers:
        """The newest edit's questions before and after, with all edits of the stack in the weights.

        Raises:
            BadRequest: no edit yet.
        """
        newest = self._edits()[-1]
        self.stop.clear()
        with self._model(progress) as (_, lm):
            self.workshop.report("asking after the edit")
            return answers_of(lm, newest.case, newest.base, self.change())

    def notes(self) -> tuple[str, ...]:
        """What a visitor must know of edits that exclude or repeat each other."""
        return tuple(edit_set([edit.case.request for edit in self.stack]).notes())

    def export(self, root: Path, name: str) -> Path:
        """The sum of all edits as a PEFT adapter below `root`; see `benchmarks/play/saving.py`."""
        change = self.change()
        with self._model() as (_, lm):
            return export(root, name, change, lm)

    def write(self, prompt: str, tokens: int = TOKENS) -> Iterator[tuple[str, str]]:
        """How the model goes on behind `prompt` without and with the edits: both texts, longer each time.

        Other visitors use the model in between.

        Raises:
            BadRequest: an empty prompt, or one longer than the model reads.
        """
        if not prompt.strip():
            raise BadRequest("there is no text to go on with; write some words")
        self.stop.clear()
        with self._model() as (_, lm):
            before, after = Continuation(lm, prompt, Delta({})), Continuation(lm, prompt, self.change())
        while not (before.ended and after.ended) and max(before.length, after.length) < tokens:
            with self._model() as (_, lm):
                before.extend(lm, AT_ONCE)
                after.extend(lm, AT_ONCE)
            yield before.text(), after.text()

    def _edits(self) -> tuple[Edit, ...]:
        if not self.stack:
            raise BadRequest("no edit yet; make one first")
        return self.stack


def _dosed(edit: Edit) -> Delta:
    dose = edit.dose.value
    return edit.change if dose is None or dose == 1 else edit.change.scaled(dose)
