"""Swaps: which entity's state goes into which prompt, and what the model should answer then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from benchmarks.readings.prompts.reading_input import ReadingInput
from editing.text import Prompt, tokenise


@dataclass(frozen=True)
class Swap:
    """One swap.

    Attributes:
        base, source: places of the questions whose prompts are read. entity: that of the base prompt.
        moves: the base prompt asks for the swapped attribute, so the answer should be the source's; otherwise it asks
            for another one, which should stay.
        target: the answer expected after the swap, in the language of the base prompt. answer: the source's value of
            the swapped attribute in the first language, its class.
    """

    base: int
    source: int
    entity: str
    moves: bool
    target: str
    answer: str


def known_entities(source: ReadingInput, relation: str, lang: str) -> list[str]:
    """Entities of which the model knows this attribute and another one, in a language, in the order of questions."""
    right = [source.question(i) for i in source.choose(lang=lang, right=True)]
    with_it = dict.fromkeys(q.entity for q in right if q.relation == relation)
    others = {q.entity for q in right if q.relation != relation}
    return [name for name in with_it if name in others]


def draw_swaps(
    source: ReadingInput,
    relation: str,
    entities: Sequence[str],
    way: tuple[str, str],
    count: int,
    rng: np.random.Generator,
) -> list[Swap]:
    """Up to `count` swaps that should move the attribute, and as many that should leave others, among `entities`. Their
    base prompts are drawn from all questions; none comes twice before each has come once.

    Args:
        way: languages of the source prompts and of the base prompts.
    """
    members = set(entities)
    by_entity: dict[str, list[int]] = {}
    for i in source.choose(relation, way[0], right=True):
        if source.question(i).entity in members:
            by_entity.setdefault(source.question(i).entity, []).append(i)
    of_relation = [i for i in source.choose(relation, way[1], right=True) if source.question(i).entity in members]
    of_others = [
        i
        for i in source.choose(lang=way[1], right=True)
        if source.question(i).entity in members and source.question(i).relation != relation
    ]
    names = {q.answer: q.target for q in source.material.questions if q.relation == relation and q.lang == way[1]}
    own = {q.entity: q.answer for q in source.material.questions if q.relation == relation}
    out = []
    for pool, moves in ((of_relation, True), (of_others, False)):
        # A random order: questions stand attribute by attribute, and the first `count` would be about few of them.
        for base in islice(cycle(rng.permutation(pool).tolist()), count):
            question = source.question(base)
            answer = own.get(question.entity)
            # A source with the same attribute would move nothing, and one of another kind has other attributes.
            rest = [name for name in by_entity if own[name] != answer and own[name] in names]
            if not rest:
                continue
            name = rest[int(rng.integers(len(rest)))]
            place = by_entity[name][int(rng.integers(len(by_entity[name])))]
            target = names[own[name]] if moves else question.target
            out.append(Swap(base, place, question.entity, moves, target, own[name]))
    return out


def base_key(swap: Swap) -> tuple[int, str]:
    """What the base prompt of a swap is made of: swaps with the same key read the same text."""
    return swap.base, swap.target


def base_prompt(source: ReadingInput, base: int, target: str) -> Prompt:
    """The prompt of a question with the expected answer behind it."""
    question = source.question(base)
    return tokenise(source.lm, question.template, question.subject, "subject_last", target)
