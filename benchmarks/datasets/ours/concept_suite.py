"""The concept suite: everyday things in two languages; edits of their facts, their names, or all they are.

A *rename* makes the model say another word wherever it was about to say the concept's English name. A *retarget* makes
one concept behave as another, distant one. `rename_case` and `retarget_case` build one case for a pair of one's own.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from benchmarks.cases import Case, Probe
from benchmarks.datasets.asking import M, ask, fact_cases, find_concept, turns
from benchmarks.world import EDIT_PROMPTS, Knowledge, differing, distant, draw_candidates, knowledge
from editing.errors import BadRequest
from editing.text import EditRequest

NAME = "concept_suite"
DESCRIPTION = "57 everyday concepts (cheese/fromage...): facts, renames to French, retargets to a distant concept"
KINDS = ("fact", "rename", "retarget")
SIBLINGS = 4
REQUEST_RELATIONS = 3
# Edited first are relations whose prompts leave little choice; what is left (category, colour) is held out.
EDITED_FIRST = ("activity", "person", "place", "material", "category", "color")
TYPE = "type"  # the bootstrap cluster of rename and retarget cases is the concept's type, prefixed by this


def cases(kind: str, seed: int, argument: str = "") -> list[Case]:
    """Every case of one edit kind; the types take turns, cheese first."""
    known = knowledge()
    if kind == "fact":
        return fact_cases(known, "concept", NAME, seed)
    groups: dict[str, list[str]] = {}
    for key in known.concepts():
        groups.setdefault(known.entity(key).group, []).append(key)
    concepts = turns(groups.values())
    if kind == "rename":
        # "train", "piano", "table" are the same word in French: nothing to rename.
        pairs = [(known.name(key, "en"), known.name(key, "fr")) for key in concepts]
        return [rename_case(en, fr, seed) for en, fr in pairs if en != fr]
    return [retarget_case(known.name(key, "en"), known.name(distant(known, key, seed), "en"), seed) for key in concepts]


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
    pool = [known.name(key, lang) for key in known.concepts()]
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


def rename_case(old: str, new: str, seed: int = 0) -> Case:
    """Rename the concept called `old` in English to the word `new` in English text.

    Efficacy asks the four eliciting texts of the edit, paraphrase the held-out ones; siblings keep their names; French
    texts go on answering the French name.

    Raises:
        BadRequest: an unknown concept, an empty new name, or the old name again.
    """
    known = knowledge()
    key = find_concept(known, old)
    old, new = known.name(key, "en"), new.strip()
    if not new or new.lower() == old:
        raise BadRequest(f"cannot rename {old!r} to {new!r}; give another word")
    case_id = f"rename:{old}" if new == known.name(key, "fr") else f"rename:{old}={new}"
    rng = random.Random(f"{seed}/{case_id}")
    kin = [sibling for sibling in known.siblings(key) if known.name(sibling, "en") != new]
    family = tuple(known.name(sibling, "en") for sibling in kin)
    texts = known.elicit(key, "en")
    probes = [
        _named(known, "efficacy" if at < EDIT_PROMPTS else "paraphrase", key, at, "en", new, old, family)
        for at in range(len(texts))
    ]
    for sibling in rng.sample(kin, min(SIBLINGS, len(kin))):
        mine = known.name(sibling, "en")
        # One text in the edit's frame and definition style, one in the held-out style.
        probes += [
            _named(known, "neighbour", sibling, at, "en", mine, mine, (old, new), rival=new) for at in (0, EDIT_PROMPTS)
        ]
    french = known.name(key, "fr")
    french_family = tuple(known.name(sibling, "fr") for sibling in known.siblings(key))
    for at in range(len(known.elicit(key, "fr"))):
        probes.append(_named(known, "same_subject", key, at, "fr", french, french, french_family))
    request = EditRequest(case_id, texts[:EDIT_PROMPTS], "", (new,), "last", "en")
    return Case(case_id, "rename", request, tuple(probes), old, f"{TYPE}:{known.entity(key).group}", NAME, seed)


def retarget_case(a: str, b: str, seed: int = 0) -> Case:
    """Make the concept called `a` behave as the one called `b`: up to three relations are edited, the others held out.

    Raises:
        BadRequest: an unknown concept, the same one twice, or two that share every known attribute.
    """
    known = knowledge()
    key, goal = find_concept(known, a), find_concept(known, b)
    a, b = known.name(key, "en"), known.name(goal, "en")
    facts = differing(known, key, goal)
    if key == goal or not facts:
        raise BadRequest(f"cannot retarget {a!r} to {b!r}: they differ in no known attribute; choose another pair")
    case_id = f"retarget:{a}={b}"
    rng = random.Random(f"{seed}/{case_id}")
    ranked = sorted(facts, key=lambda fact: EDITED_FIRST.index(fact.relation))
    chosen = ranked[: max(1, min(REQUEST_RELATIONS, len(facts) - 1))]
    goals = {fact.relation: known.object_of(goal, fact.relation) for fact in facts}
    asked = {fact.relation for fact in chosen}
    probes: list[Probe] = []
    for fact in facts:
        new, inside = goals[fact.relation], fact.relation in asked
        for template in range(known.n_templates(fact.relation, "en")):
            kind = "relation" if not inside else "efficacy" if template == 0 else "paraphrase"
            if inside or template < 3:
                probes.append(ask(known, kind, fact, "en", template, new))
        probes += [ask(known, "cross_lingual", fact, "fr", template, new) for template in range(2)]
    for fact in known.about(key):
        if fact not in facts and known.object_of(goal, fact.relation) == fact.object:
            probes += [ask(known, "same_subject", fact, lang, 0) for lang in ("en", "fr")]
    kin = [sibling for sibling in known.siblings(key) if sibling != goal]
    for i, sibling in enumerate(rng.sample(kin, min(SIBLINGS, len(kin)))):
        mine = [f for f in known.about(sibling) if f.relation in goals and f.object != goals[f.relation]]
        mine.sort(key=lambda f: f.relation not in asked)
        for lang, count in (("en", 2), ("fr", 1)):
            for j in range(min(count, len(mine))):
                fact = mine[(i + j) % len(mine)]
                mother = known.object_of(key, fact.relation)
                rivals = [obj for obj in (goals[fact.relation], mother) if obj]
                probes.append(ask(known, "neighbour", fact, lang, 0, rivals=rivals))
    shown = [known.render(fact, "en", 0) for fact in chosen]
    targets = tuple(known.name(goals[fact.relation] or "", "en") for fact in chosen)
    request = EditRequest(case_id, tuple(said.prompt for said in shown), a, targets, "subject_last", "en")
    return Case(case_id, "retarget", request, tuple(probes), a, f"{TYPE}:{known.entity(key).group}", NAME, seed)
