"""The concept suite: everyday things in two languages; edits of their facts, their names, or all they are.

A *rename* makes the model say another word wherever it was about to say the concept's English name. A *retarget* makes
one concept behave as another, distant one. `rename_case` and `retarget_case` build one case for a pair of one's own.
The argument names languages such as `de-zh` (edits in the first), or a file of one's own concepts
(`benchmarks/world/concept_file.py`), which cases are then made of.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from benchmarks.cases import Case, Probe
from benchmarks.datasets.asking import M, ask, fact_cases, find_concept, turns
from benchmarks.world import (
    EDIT_PROMPTS,
    Knowledge,
    differing,
    distant,
    draw_candidates,
    knowledge,
    languages_of,
    own_knowledge,
)
from editing.errors import BadData, BadRequest
from editing.text import EditRequest

NAME = "concept_suite"
DESCRIPTION = "57 everyday concepts (cheese/fromage...) or concept_suite:FILE: facts, renames, retargets"
KINDS = ("fact", "rename", "retarget")
NEEDS = {
    "fact": "give them answers by relation (color = ...)",
    "rename": "give them definitions, and a name in the second language or a sibling of their type",
    "retarget": "give them answers by relation that another concept answers differently",
}
SIBLINGS = 4
KEPT = 32  # other concepts whose definitions a rename is to leave alone
REQUEST_RELATIONS = 3
# Edited first are relations whose prompts leave little choice; what is left (category, colour) is held out.
EDITED_FIRST = ("activity", "person", "place", "material", "category", "color")
TYPE = "type"  # the bootstrap cluster of rename and retarget cases is the concept's type, prefixed by this


def cases(kind: str, seed: int, argument: str = "") -> list[Case]:
    """Every case of one edit kind; the types take turns, cheese first.

    Of a file of one's own, a concept is renamed to its name in the second language; without one, to a sibling's name.

    Raises:
        BadData: a malformed file, or none of its concepts can be edited in this way.
    """
    langs = languages_of(argument)
    known = knowledge(langs=langs) if langs else own_knowledge(argument) if argument else knowledge()
    home = known.langs[0]
    if kind == "fact":
        made = fact_cases(known, "concept", NAME, seed, home)
    else:
        concepts = subjects_in_turn(known)
        if kind == "rename":
            pairs = [(key, _new_name(known, key, seed)) for key in concepts if known.elicit(key, home)]
            # "train", "piano", "table" are the same word in French: nothing to rename.
            made = [rename_case(known.name(key, home), new, seed, known) for key, new in pairs if new]
        else:
            goals = [(key, distant(known, key, seed)) for key in concepts]
            names = [known.named(pair, home) for pair in goals if pair[1]]
            made = [retarget_case(one, goal, seed, known) for one, goal in names]
    if not made:
        raise BadData(f"{argument}: no {kind} edit can be made of its concepts; {NEEDS[kind]}, or leave out that kind")
    return made


def subjects_in_turn(known: Knowledge) -> list[str]:
    """The concepts that cases are made of, the types taking turns."""
    groups: dict[str, list[str]] = {}
    for key in known.subjects():
        groups.setdefault(known.entity(key).group, []).append(key)
    return turns(groups.values())


def _new_name(known: Knowledge, key: str, seed: int) -> str:
    """What a concept of a data set is renamed to; empty where there is nothing."""
    home, *others = known.langs
    name = known.name(key, home)
    if others and others[0] in known.entity(key).word.nouns:
        other = known.name(key, others[0])
        return other if other != name else ""
    kin = known.named(known.siblings(key), home)
    return random.Random(f"{seed}/rename/{key}").choice(kin) if kin else ""


def _named(
    known: Knowledge,
    kind: str,
    about: str,
    at: int,
    lang: str,
    answer: str,
    old: str,
    must: Iterable[str],
    rival: str = "",
) -> Probe:
    """A probe for the name of a concept, with its eliciting text `at`; `answer`, `old` and `rival` are names."""
    pool = known.named(known.concepts(), lang)
    candidates = draw_candidates(pool, (answer, old, *must), M, f"name/{lang}/{about}/{answer}")
    return Probe(
        kind=kind,
        prompt=known.elicit(about, lang)[at],
        candidates=candidates,
        answer=candidates.index(answer),
        old=candidates.index(old),
        prior=known.elicit_prior(about, lang)[at],
        lang=lang,
        about=known.name(about, lang),
        relation="name",
        rival=candidates.index(rival) if rival else None,
    )


def rename_case(old: str, new: str, seed: int = 0, known: Knowledge | None = None) -> Case:
    """Rename the concept called `old` to the word `new`, in the language of the edits (English in the suite).

    Efficacy asks the four eliciting texts of the edit, paraphrase the held-out ones; siblings keep their names; texts
    in other languages go on answering the concept's name there. Where both are given in a plural in s, their singulars
    are meant: the questions ask for those.

    Raises:
        BadRequest: an unknown concept or one without definitions, an empty new name, or the old name again.
    """
    known = known or knowledge()
    home = known.langs[0]
    key = find_concept(known, old)
    given, old, new = old.strip().casefold(), known.name(key, home), " ".join(new.split())
    if given == old.casefold() + "s" and new.endswith("s") and not new.endswith("ss"):  # both in the plural
        new = new[:-1]
    if not new or new.casefold() == old.casefold():
        raise BadRequest(f"cannot rename {old!r} to {new!r}; give another word")
    texts = known.elicit(key, home)
    if not texts:
        raise BadRequest(
            f"concept {old!r} has no definitions to ask for its name by; add define_{home} and cloze_{home}"
        )
    usual = known.named([key], known.langs[1]) if len(known.langs) > 1 else []
    case_id = f"rename:{old}" if [new] == usual else f"rename:{old}={new}"
    rng = random.Random(f"{seed}/{case_id}")
    kin = [sibling for sibling in known.siblings(key) if known.named([sibling], home) not in ([], [new])]
    family = tuple(known.named(kin, home))
    probes = [
        _named(known, "efficacy" if at < EDIT_PROMPTS else "paraphrase", key, at, home, new, old, family)
        for at in range(len(texts))
    ]
    described = [sibling for sibling in kin if known.elicit(sibling, home)]
    for sibling in rng.sample(described, min(SIBLINGS, len(described))):
        own_name = known.name(sibling, home)
        # One text in the edit's frame and definition style, one in the held-out style.
        probes += [
            _named(known, "neighbour", sibling, at, home, own_name, own_name, (old, new), rival=new)
            for at in (0, EDIT_PROMPTS)
        ]
    for lang in known.langs[1:]:
        kin_there = tuple(known.named(known.siblings(key), lang))
        for at in range(len(known.elicit(key, lang))):
            name = known.name(key, lang)
            probes.append(_named(known, "same_subject", key, at, lang, name, name, kin_there))
    kept = _other_definitions(known, {key, *known.siblings(key)}, {old, new}, f"{seed}/{case_id}/keep")
    request = EditRequest(case_id, texts[:EDIT_PROMPTS], "", (new,), "last", home, keep=kept)
    return Case(case_id, "rename", request, tuple(probes), old, f"{TYPE}:{known.entity(key).group}", NAME, seed)


def _other_definitions(known: Knowledge, but: set[str], names: set[str], seed: str) -> tuple[str, ...]:
    """The eliciting texts of the edit's frames for up to KEPT concepts, none of them of `but` or called as in `names`.

    Siblings are not among them, so what is evaluated about siblings stays held out.
    """
    home = known.langs[0]
    others = [
        key for key in known.concepts()
        if key not in but and known.elicit(key, home) and known.name(key, home) not in names
    ]  # fmt: skip
    chosen = random.Random(seed).sample(others, min(KEPT, len(others)))
    return tuple(text for key in chosen for text in known.elicit(key, home)[:EDIT_PROMPTS])


def edited_rank(relation: str) -> int:
    """Place of a relation in the order in which relations are edited; those of a file of one's own come last."""
    return EDITED_FIRST.index(relation) if relation in EDITED_FIRST else len(EDITED_FIRST)


def retarget_case(a: str, b: str, seed: int = 0, known: Knowledge | None = None) -> Case:
    """Make the concept called `a` behave as the one called `b`: up to three relations are edited, the others held out.

    Raises:
        BadRequest: an unknown concept, the same one twice, or two that share every known attribute.
    """
    known = known or knowledge()
    home, *others = known.langs
    key, goal = find_concept(known, a), find_concept(known, b)
    a, b = known.name(key, home), known.name(goal, home)
    facts = differing(known, key, goal)
    if key == goal or not facts:
        raise BadRequest(f"cannot retarget {a!r} to {b!r}: they differ in no known attribute; choose another pair")
    case_id = f"retarget:{a}={b}"
    rng = random.Random(f"{seed}/{case_id}")
    ranked = sorted(facts, key=lambda fact: edited_rank(fact.relation))
    chosen = ranked[: max(1, min(REQUEST_RELATIONS, len(facts) - 1))]
    goals = {fact.relation: known.object_of(goal, fact.relation) for fact in facts}
    relations = {fact.relation for fact in chosen}
    probes: list[Probe] = []
    for fact in facts:
        new, inside = goals[fact.relation], fact.relation in relations
        for template in range(known.n_templates(fact.relation, home)):
            kind = "relation" if not inside else "efficacy" if template == 0 else "paraphrase"
            if inside or template < 3:
                probes.append(ask(known, kind, fact, home, template, new))
        for lang in others:
            if known.speaks(lang, fact.relation, key, fact.object, new or ""):
                templates = range(min(2, known.n_templates(fact.relation, lang)))
                probes += [ask(known, "cross_lingual", fact, lang, template, new) for template in templates]
    for fact in known.about(key):
        if fact not in facts and known.object_of(goal, fact.relation) == fact.object:
            spoken = [lang for lang in known.langs if known.speaks(lang, fact.relation, key, fact.object)]
            probes += [ask(known, "same_subject", fact, lang, 0) for lang in spoken]
    kin = [sibling for sibling in known.siblings(key) if sibling != goal]
    for i, sibling in enumerate(rng.sample(kin, min(SIBLINGS, len(kin)))):
        own_facts = [f for f in known.about(sibling) if f.relation in goals and f.object != goals[f.relation]]
        own_facts.sort(key=lambda f: f.relation not in relations)
        for lang, count in ((home, 2), *((lang, 1) for lang in others)):
            for j in range(min(count, len(own_facts))):
                fact = own_facts[(i + j) % len(own_facts)]
                mother = known.object_of(key, fact.relation)
                rivals = [obj for obj in (goals[fact.relation], mother) if obj]
                if known.speaks(lang, fact.relation, sibling, fact.object, *rivals):
                    probes.append(ask(known, "neighbour", fact, lang, 0, rivals=rivals))
    shown = [known.render(fact, home, 0) for fact in chosen]
    targets = tuple(known.name(goals[fact.relation] or "", home) for fact in chosen)
    request = EditRequest(case_id, tuple(said.prompt for said in shown), a, targets, "subject_last", home)
    return Case(case_id, "retarget", request, tuple(probes), a, f"{TYPE}:{known.entity(key).group}", NAME, seed)
