"""Erasures: the model should no longer separate a concept of the suite from its kind.

Where a concept's answer differs from the commonest one among its siblings (cheese is yellow, food is white), the edited
model should give anything but the concept's own answer; where it does not differ, and for the siblings themselves, it
should answer as before. Getting away from an answer is easier than giving a named one, so scores of erasures are
compared with each other and never with those of facts, renames or retargets. `erasures:FILE` takes the concepts of a
file of one's own.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from benchmarks.cases import Case, Probe
from benchmarks.datasets.asking import ask, find_concept
from benchmarks.datasets.ours.concept_suite import REQUEST_RELATIONS, SIBLINGS, TYPE, edited_rank, subjects_in_turn
from benchmarks.world import Fact, Knowledge, knowledge, own_knowledge
from editing.errors import BadData, BadRequest
from editing.text import EditRequest

NAME = "erasures"
DESCRIPTION = "57 everyday concepts (or erasures:FILE), each erased: no longer distinguished from its kind"
KINDS = ("erase",)


def cases(kind: str, seed: int, argument: str = "") -> list[Case]:
    """Every concept that its siblings' answers differ from; the types take turns.

    Raises:
        BadData: a malformed file, or none of its concepts differs from its kind.
    """
    known = own_knowledge(argument) if argument else knowledge()
    apart = [key for key in subjects_in_turn(known) if _apart(known, key, _usual(known, key))]
    made = [erase_case(known.name(key, known.langs[0]), seed, known) for key in apart]
    if not made:
        raise BadData(f"{argument}: no concept differs from its siblings; give them answers by relation that differ")
    return made


def _usual(known: Knowledge, key: str) -> dict[str, str]:
    """Relation -> the answer that most siblings have (the first one among equals), where they can be evaluated."""
    home = known.langs[0]
    answers: dict[str, Counter[str]] = {}
    for sibling in known.siblings(key):
        for fact in known.about(sibling):
            if known.speaks(home, fact.relation, key, sibling, fact.object):
                answers.setdefault(fact.relation, Counter())[fact.object] += 1
    return {relation: count.most_common(1)[0][0] for relation, count in answers.items()}


def _apart(known: Knowledge, key: str, usual: dict[str, str]) -> list[Fact]:
    """The facts in which a concept differs from the `usual` answers of its kind."""
    return [fact for fact in known.about(key) if usual.get(fact.relation, fact.object) != fact.object]


def erase_case(concept: str, seed: int = 0, known: Knowledge | None = None) -> Case:
    """Erase what sets `concept` apart from its kind; up to three relations are edited, the others held out.

    The targets, for methods that need one, are the kind's usual answers.

    Raises:
        BadRequest: an unknown concept, or one that answers every relation as its kind does.
    """
    known = known or knowledge()
    home, *others = known.langs
    key = find_concept(known, concept)
    concept = known.name(key, home)
    usual = _usual(known, key)
    facts = sorted(_apart(known, key, usual), key=lambda fact: edited_rank(fact.relation))
    if not facts:
        raise BadRequest(f"cannot erase {concept!r}: nothing known sets it apart from its kind; choose another concept")
    case_id = f"erase:{concept}"
    rng = random.Random(f"{seed}/{case_id}")
    chosen = facts[: max(1, min(REQUEST_RELATIONS, len(facts) - 1))]
    probes: list[Probe] = []
    for fact in facts:
        new = usual[fact.relation]
        for template in range(known.n_templates(fact.relation, home)):
            kind = "relation" if fact not in chosen else "efficacy" if template == 0 else "paraphrase"
            probes.append(replace(ask(known, kind, fact, home, template, new), away=True))
        for lang in others:
            if known.speaks(lang, fact.relation, key, fact.object, new):
                templates = range(min(2, known.n_templates(fact.relation, lang)))
                translated = [ask(known, "cross_lingual", fact, lang, template, new) for template in templates]
                probes += [replace(probe, away=True) for probe in translated]
    for fact in (fact for fact in known.about(key) if fact not in facts):
        spoken = [lang for lang in known.langs if known.speaks(lang, fact.relation, key, fact.object)]
        probes += [ask(known, "same_subject", fact, lang, 0) for lang in spoken]
    kin = list(known.siblings(key))
    for i, sibling in enumerate(rng.sample(kin, min(SIBLINGS, len(kin)))):
        own_facts = [fact for fact in known.about(sibling) if fact.relation in usual]
        for lang, count in ((home, 2), *((lang, 1) for lang in others)):
            for j in range(min(count, len(own_facts))):
                fact = own_facts[(i + j) % len(own_facts)]
                if known.speaks(lang, fact.relation, sibling, fact.object):
                    probes.append(ask(known, "neighbour", fact, lang, 0))
    request = EditRequest(
        case_id,
        tuple(known.render(fact, home, 0).prompt for fact in chosen),
        concept,
        tuple(known.name(usual[fact.relation], home) for fact in chosen),
        "subject_last",
        home,
        contrast=tuple(name for name in known.named(kin, home) if name != concept),
    )
    return Case(case_id, "erase", request, tuple(probes), concept, f"{TYPE}:{known.entity(key).group}", NAME, seed)
