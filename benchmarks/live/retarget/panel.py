"""The questions of one retargeting: the concept, its siblings and the goal, in the same frames.

Retargeting cheese to dog may move butter as well: apparent transfer that is leakage. So every question about the
concept has its twin about each sibling in the same language, relation and wording, with the same candidates; and its
twin about the goal, which says how far there is to go.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.cases import Case, Probe
from benchmarks.datasets import M, find_concept, retarget_case
from benchmarks.texts import drift_texts
from benchmarks.world import Fact, Knowledge, knowledge

FRAMES = (3, 2)  # wordings per relation: in the edit's language, of which the first is the edit's own; in another
TRAINED, HELD_OUT, SHARED, SIBLING, GOAL = "trained", "held out", "shared", "sibling", "goal"


@dataclass(frozen=True)
class Question:
    """One question of the panel.

    Attributes:
        role: of the concept's relations, TRAINED (the request edits it), HELD_OUT, or SHARED (the goal has the same
            object, so the answer should stay); SIBLING or GOAL where it is about another concept.
        about: name, in the language of the edits, of the concept in question.
        own, goal: the true answer, and the goal's; equal where there is nothing to move.
    """

    role: str
    about: str
    relation: str
    lang: str
    template: int
    own: str
    goal: str
    probe: Probe

    @property
    def frame(self) -> tuple[str, str, int]:
        """What a question shares with its twins."""
        return self.relation, self.lang, self.template


@dataclass(frozen=True)
class Panel:
    """The request with all questions about it.

    Attributes:
        case: its first probes are those of `questions`, in their order; then drift and fluency.
        siblings: names of the other concepts of the type, in the language of the edits.
        left_out: a line per relation of the concept that the goal does not have.
        langs: the languages of the questions, that of the edits first.
    """

    case: Case
    questions: tuple[Question, ...]
    concept: str
    goal: str
    siblings: tuple[str, ...]
    left_out: tuple[str, ...]
    langs: tuple[str, ...]


def retarget_panel(a: str, b: str, seed: int = 0, known: Knowledge | None = None) -> Panel:
    """The panel of making the concept called `a` behave as the one called `b`; names in the language of the edits.

    Raises:
        BadRequest: an unknown concept, the same one twice, or two that share every known attribute.
    """
    known = known or knowledge()
    case, home = retarget_case(a, b, seed, known), known.langs[0]
    key, goal = find_concept(known, a), find_concept(known, b)
    name, towards = (known.name(one, home) for one in (key, goal))
    kin = tuple(sibling for sibling in known.siblings(key) if sibling != goal)
    trained = {probe.relation for probe in case.probes if probe.kind == "efficacy"}
    questions: list[Question] = []
    left_out = []
    for fact in known.about(key):
        new = known.object_of(goal, fact.relation)
        if new is None:
            left_out.append(f"{fact.relation}: {towards} has none that is known, so it is not evaluated")
            continue
        role = SHARED if new == fact.object else TRAINED if fact.relation in trained else HELD_OUT
        every = [f for one in kin if (f := _fact(known, one, fact.relation))]
        for lang in known.langs:
            if not known.speaks(lang, fact.relation, key, goal, fact.object, new):
                continue
            twins = [twin for twin in every if known.speaks(lang, fact.relation, twin.subject, twin.object)]
            frame = _Frame(known, fact, new, tuple(twin.object for twin in twins), lang)
            for template in range(min(FRAMES[lang != home], known.n_templates(fact.relation, lang))):
                questions.append(frame.question(role, fact, template))
                questions += [frame.question(SIBLING, twin, template) for twin in twins]
                # One per answer that somebody starts from: each is another distance to the goal.
                starts = dict.fromkeys(f.object for f in (fact, *twins) if f.object != new)
                questions += [frame.goal_question(goal, start, template) for start in starts]
    probes = tuple(question.probe for question in questions) + _texts(known, key)
    whole = Case(case.id, "retarget", case.request, probes, case.subject, case.relation, case.dataset, seed)
    langs = tuple(lang for lang in known.langs if any(question.lang == lang for question in questions))
    return Panel(whole, tuple(questions), name, towards, tuple(known.named(kin, home)), tuple(left_out), langs)


def _fact(known: Knowledge, subject: str, relation: str) -> Fact | None:
    return next((fact for fact in known.about(subject) if fact.relation == relation), None)


@dataclass(frozen=True)
class _Frame:
    """One relation in one language: whoever the question is about, the candidates are the same."""

    known: Knowledge
    fact: Fact  # the concept's own
    new: str  # the goal's object
    others: tuple[str, ...]  # the siblings' objects
    lang: str

    def question(self, role: str, fact: Fact, template: int) -> Question:
        """About `fact`'s subject: SIBLING and SHARED keep their answer, the others should give the goal's."""
        if role in (SIBLING, SHARED):
            return self._question(role, fact, fact.object, template, "neighbour" if role == SIBLING else "same_subject")
        trained = "efficacy" if template == 0 else "paraphrase"
        kind = "cross_lingual" if self.lang != self.known.langs[0] else trained if role == TRAINED else "relation"
        return self._question(role, fact, fact.object, template, kind)

    def goal_question(self, goal: str, start: str, template: int) -> Question:
        """About the goal itself, which keeps its answer against `start`."""
        return self._question(GOAL, Fact(goal, self.fact.relation, self.new), start, template, "neighbour")

    def _question(self, role: str, fact: Fact, own: str, template: int, kind: str) -> Question:
        known, lang = self.known, self.lang
        name, new = known.name(own, lang), known.name(self.new, lang)
        must = (known.name(key, lang) for key in (self.fact.object, *self.others))
        candidates = known.candidates(fact.relation, lang, new, M, must)
        answer = name if role in (SIBLING, SHARED) else new
        old = new if role == GOAL else name
        rival = name if role == GOAL else new
        probe = Probe(
            kind=kind,
            prompt=known.render(fact, lang, template).filled,
            candidates=candidates,
            answer=candidates.index(answer),
            old=candidates.index(old),
            prior=known.prior(fact.relation, lang, template),
            lang=lang,
            about=known.name(fact.subject, lang),
            relation=fact.relation,
            rival=candidates.index(rival) if rival != answer else None,
        )
        return Question(role, known.name(fact.subject, known.langs[0]), fact.relation, lang, template, name, new, probe)


def _texts(known: Knowledge, key: str) -> tuple[Probe, ...]:
    """All unrelated texts of the languages there are any in (else of all), and what the model writes behind the
    concept's bare name in each of its languages."""
    there = drift_texts()
    drift = [
        Probe("drift", text, lang=lang)
        for lang, texts in there.items()
        if lang in known.langs or not set(known.langs) & set(there)
        for text in texts
    ]
    names = [(lang, name) for lang in known.langs for name in known.named([key], lang)]
    return (*drift, *(Probe("fluency", name[:1].upper() + name[1:], lang=lang, about=name) for lang, name in names))
