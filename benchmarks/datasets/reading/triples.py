"""Edits for files of true facts: counterfactual object and neighbours are drawn from the same relation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.datasets.reading.case_set import LeftOut
from benchmarks.datasets.reading.drafts import Draft, Question, ask_template, draft, left_out
from benchmarks.datasets.reading.fields import fold, prior
from benchmarks.datasets.reading.records import Place
from editing.errors import UserError
from editing.text import fill

NEIGHBOURS, SAME_SUBJECT = 6, 3


@dataclass(frozen=True)
class Triple:
    """A true fact.

    Attributes:
        record: number of the record it comes from.
        id: of the fact in its data set.
        said: the object, then its aliases.
        templates: prompts with `{}` for the subject, the edited one first.
    """

    record: int
    id: str
    relation: str
    subject: str
    said: tuple[str, ...]
    templates: tuple[str, ...]
    lang: str = "en"


class Known:
    """All facts of a file, found by relation, object and subject."""

    def __init__(self, triples: Sequence[Triple]) -> None:
        self.of: dict[tuple[str, str], list[Triple]] = {}
        self.sharing: dict[tuple[str, str, str], list[Triple]] = {}
        self.about: dict[tuple[str, str], list[Triple]] = {}
        self.objects: dict[tuple[str, str], dict[str, str]] = {}
        for t in triples:
            self.of.setdefault((t.lang, t.relation), []).append(t)
            self.sharing.setdefault((t.lang, t.relation, fold(t.said[0])), []).append(t)
            self.about.setdefault((t.lang, fold(t.subject)), []).append(t)
            self.objects.setdefault((t.lang, t.relation), {}).setdefault(fold(t.said[0]), t.said[0])

    def true(self, t: Triple) -> dict[str, str]:
        """Every object that is right for the fact's subject in its relation, aliases included, by its folded text."""
        same = [other for other in self.about[t.lang, fold(t.subject)] if other.relation == t.relation]
        return {fold(said): said for other in same for said in other.said}

    def as_right(self, t: Triple) -> tuple[str, ...]:
        """What is as right as the fact's object."""
        return tuple(said for key, said in self.true(t).items() if key != fold(t.said[0]))

    def other_object(self, t: Triple, rng: random.Random) -> str | None:
        """Another object of the relation, where possible one that begins differently; None when there is none."""
        true = self.true(t)
        pool = [said for key, said in self.objects[t.lang, t.relation].items() if key not in true]
        clear = [said for said in pool if said[:1].lower() != t.said[0][:1].lower()]
        return rng.choice(clear or pool) if pool else None

    def neighbours(self, t: Triple, new: str, rng: random.Random, most: int = NEIGHBOURS) -> list[Triple]:
        """Facts of the relation about other subjects, those with the same object first; none is true of `new`."""
        near = {}
        for pool in (self.sharing[t.lang, t.relation, fold(t.said[0])], self.of[t.lang, t.relation]):
            for other in rng.sample(pool, min(len(pool), 4 * most)):
                subject = fold(other.subject)
                if subject != fold(t.subject) and fold(new) not in self.true(other) and len(near) < most:
                    near.setdefault(subject, other)
        return list(near.values())


def drafts_of(file: str, triples: Sequence[Triple], seed: int) -> tuple[list[Draft], list[LeftOut]]:
    """An edit of each fact to another object of its relation, and the facts that allow none."""
    known, made, bad = Known(triples), [], []
    for t in triples:
        place = Place(file, t.record)
        try:
            made.append(_draft(place, known, t, random.Random(f"{seed}/{t.id}")))
        except UserError as error:
            bad.append(left_out(t.record, error))
    return made, bad


def _draft(place: Place, known: Known, t: Triple, rng: random.Random) -> Draft:
    new = known.other_object(t, rng)
    if new is None:
        place.refuse(
            f"relation {t.relation!r:.80} has no other object than {t.said[0]!r:.80}", "add facts of the relation"
        )
    edit = draft(place, "prompt", t.templates[0], t.subject, (new,), t.said, t.relation, t.lang, t.id)
    edit = edit._replace(prompt=t.templates[0], subject=t.subject)
    questions = [ask_template(edit, "paraphrase", template) for template in t.templates[1:]]
    for i, other in enumerate(known.neighbours(t, new, rng)):
        questions.append(_true(known, other, "neighbour", i, (new, t.said[0])))
    others = [other for other in known.about[t.lang, fold(t.subject)] if other.relation != t.relation]
    for i, other in enumerate(others[:SAME_SUBJECT]):
        questions.append(_true(known, other, "same_subject", i, ()))
    return edit._replace(questions=tuple(questions))


def _true(known: Known, t: Triple, kind: str, turn: int, rivals: tuple[str, ...]) -> Question:
    """A fact evaluated as it is, before and after; every object that is true of it is as right."""
    template = t.templates[turn % len(t.templates)]
    return Question(
        kind=kind,
        prompt=fill(template, t.subject),
        answer=t.said[0],
        aliases=known.as_right(t),
        old=t.said[0],
        rivals=rivals,
        prior=prior(template, t.lang),
        lang=t.lang,
        about=t.subject,
        relation=t.relation,
    )
