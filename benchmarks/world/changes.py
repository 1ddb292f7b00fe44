"""News: how the world differs after some edits. A rung trained on the news is what an edit is compared with.

`planned_changes` draws a numbered set of edits with disjoint subjects: at most a tenth of the subjects of each kind, so
that the rest of the world stays as it is. Ten sets of one world share no subject.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from benchmarks.world.facts import Fact
from benchmarks.world.knowledge import Knowledge
from editing.errors import BadRequest

SETS = 10  # sets of edits per world; each edits one tenth of the subjects
LEAST_FACTS = 3  # a subject with fewer facts leaves nothing to ask beside its edit
ENOUGH_DIFFERENCES = 5  # relations in which the goal of a retargeting differs, where the suite has such a goal
CONCEPT_KINDS = ("rename", "retarget", "fact")  # the concepts of a set take these edits in turn
Scope = Literal["both", "one"]


@dataclass(frozen=True)
class Change:
    """The news about one subject.

    Attributes:
        kind: fact, rename or retarget.
        subject: key of the entity.
        objects: (relation, key of the new object) of every fact that changes.
        name: of a rename, the new English name; where English text says the name, it says this one.
    """

    kind: str
    subject: str
    objects: tuple[tuple[str, str], ...] = ()
    name: str = ""


@dataclass(frozen=True)
class News:
    """Some changes and the languages that report them.

    Attributes:
        changes: one per subject.
        scope: `both` languages report the news; with `one`, English reports it and French is silent about the changed
            facts, so that French answers show how far a model carries the news by itself. The French name of a renamed
            concept is no news in either scope.

    Raises:
        BadRequest: two changes of one subject.
    """

    changes: tuple[Change, ...]
    scope: Scope = "both"

    def __post_init__(self) -> None:
        if len({change.subject for change in self.changes}) != len(self.changes):
            raise BadRequest("news: two changes have one subject; keep one of them")

    @cached_property
    def _objects(self) -> dict[tuple[str, str], str]:
        return {(one.subject, relation): new for one in self.changes for relation, new in one.objects}

    @cached_property
    def _names(self) -> dict[str, str]:
        return {one.subject: one.name for one in self.changes if one.name}

    def fact(self, fact: Fact) -> Fact:
        """The fact as it is after the news."""
        return Fact(fact.subject, fact.relation, self._objects.get((fact.subject, fact.relation), fact.object))

    def silent(self, fact: Fact, lang: str) -> bool:
        """Whether text in `lang` must not mention this fact."""
        return self.scope == "one" and lang != "en" and (fact.subject, fact.relation) in self._objects

    def name(self, world: Knowledge, entity: str, lang: str) -> str:
        """What text in `lang` calls the entity after the news."""
        return self._names.get(entity, world.name(entity, lang)) if lang == "en" else world.name(entity, lang)


def counterfactual(known: Knowledge, fact: Fact, rng: random.Random) -> str:
    """Another true-for-somebody object of the relation, if possible with another first letter in both languages."""
    pool = [key for key in known.objects(fact.relation) if key != fact.object]
    used = {other.object for other in known.facts_of(fact.relation)}
    pool = [key for key in pool if key in used] or pool

    def initials(key: str) -> set[str]:
        return {name[0].lower() for lang in known.langs for name in known.named([key], lang)}

    clear = [key for key in pool if not initials(key) & initials(fact.object)]
    return rng.choice(clear or pool)


def differing(known: Knowledge, a: str, b: str) -> list[Fact]:
    """The facts of concept `a` whose relation `b` has too, with another object; all in the language of the edits."""
    there = [f for f in known.about(a) if known.object_of(b, f.relation) not in (None, f.object)]
    return [f for f in there if known.speaks(known.langs[0], f.relation, a, b)]


def distant(known: Knowledge, concept: str, seed: int) -> str:
    """A seeded concept of another type that differs in as many known relations as any does; empty where none does."""
    group = known.entity(concept).group
    others = [key for key in known.concepts() if known.entity(key).group != group]
    most = max((len(differing(known, concept, key)) for key in others), default=0)
    if not most:
        return ""
    rng = random.Random(f"{seed}/distant/{concept}")
    return rng.choice([k for k in others if len(differing(known, concept, k)) >= min(most, ENOUGH_DIFFERENCES)])


def planned_changes(
    world: Knowledge, number: int, bilingual: Callable[[Fact], bool], seed: int = 0
) -> tuple[Change, ...]:
    """Set `number` of the edits planned for `world`: facts of countries and people; facts, names and all of concepts.

    Args:
        number: 1 to SETS.
        bilingual: whether a fact is stated in both languages; only such facts are edited.
        seed: of the new objects, as in the data sets.

    Raises:
        BadRequest: no such set.
    """
    if not 1 <= number <= SETS:
        raise BadRequest(f"edits{number}: there is no such set of edits; use edits1 to edits{SETS}")
    out: list[Change] = []
    for kind in ("country", "human"):
        for turn, subject in enumerate(_tenth(world, kind, number)):
            out += _fact_change(world, subject, turn, bilingual, seed)
    for turn, subject in enumerate(_tenth(world, "concept", number)):
        edit_kind = CONCEPT_KINDS[(turn + number) % len(CONCEPT_KINDS)]
        renamed = world.name(subject, "fr")
        if edit_kind == "rename" and renamed != world.name(subject, "en"):
            out.append(Change("rename", subject, name=renamed))
        elif edit_kind == "retarget":
            goal = distant(world, subject, seed)
            facts = differing(world, subject, goal)
            out.append(Change("retarget", subject, tuple((f.relation, _object(world, goal, f)) for f in facts)))
        else:
            out += _fact_change(world, subject, turn, bilingual, seed)
    return tuple(out)


def _tenth(world: Knowledge, kind: str, number: int) -> list[str]:
    subjects = [e.key for e in world.entities if e.kind == kind and len(world.about(e.key)) >= LEAST_FACTS]
    random.Random(f"edits/{kind}").shuffle(subjects)
    size = len(subjects) // SETS
    return subjects[(number - 1) * size : number * size]


def _object(world: Knowledge, subject: str, like: Fact) -> str:
    key = world.object_of(subject, like.relation)
    assert key is not None  # `differing` gives relations that both have
    return key


def _fact_change(
    world: Knowledge, subject: str, turn: int, bilingual: Callable[[Fact], bool], seed: int
) -> Iterator[Change]:
    """The relations take turns; a subject none of whose facts is stated in both languages is left as it is."""
    facts = world.about(subject)
    for offset in range(len(facts)):
        fact = facts[(turn + offset) % len(facts)]
        if bilingual(fact):
            new = counterfactual(world, fact, random.Random(f"{seed}/fact:{subject}:{fact.relation}"))
            yield Change("fact", subject, ((fact.relation, new),))
            return
