"""What the data sets share: asking a fact as a probe, choosing counterfactual objects and neighbours, taking turns."""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice, zip_longest
from typing import TypeVar

from benchmarks.cases import Case, Probe, Question
from benchmarks.grown import RungSpec
from benchmarks.world import Chain, Fact, Knowledge, counterfactual, language_name
from editing.errors import BadRequest
from editing.text import EditRequest

M = 20  # candidates per probe where the vocabulary allows
NEIGHBOURS = {"own": 6, "other": 4}  # in the language of the edit, in the other one
SAME_SUBJECT = {"own": 3, "other": 2}
CROSS_LINGUAL = 3
T = TypeVar("T")


class UnknownConcept(BadRequest):
    """A concept that neither the suite nor a file describes."""


def grown_rung(dataset: str, model: str) -> RungSpec:
    """The rung whose own world `dataset` stands for.

    Raises:
        BadRequest: a model that was not trained here.
    """
    if not model.startswith("grown:"):
        raise BadRequest(
            f"{dataset}: {model:.80} has no world of its own; use grown rungs, or {dataset.partition(':')[0]}:1"
        )
    return RungSpec.parse(model.removeprefix("grown:"))


def turns(groups: Iterable[Sequence[T]]) -> list[T]:
    """The first of each group, then the second of each...: a short prefix is a varied sample."""
    return [item for row in zip_longest(*groups) for item in row if item is not None]


def ask(
    known: Knowledge,
    kind: str,
    fact: Fact,
    lang: str,
    template: int,
    answer: str | None = None,
    old: str | None = None,
    rivals: Sequence[str] = (),
) -> Probe:
    """One probe about `fact`'s subject and relation.

    Args:
        answer: key of the object the edited model should give; the fact's own object when left out.
        old: key of the object before the edit; the fact's own object when left out.
        rivals: keys of further objects that must be among the candidates, in a neighbour's probe: the edit's target
            first, which then is the probe's rival.
    """
    said = known.render(fact, lang, template)
    right = known.name(answer or fact.object, lang)
    before = known.name(old or fact.object, lang)
    must = (before, *(known.name(key, lang) for key in rivals))
    candidates = known.candidates(fact.relation, lang, right, M, must)
    return Probe(
        kind=kind,
        prompt=said.filled,
        candidates=candidates,
        answer=candidates.index(right),
        old=candidates.index(before),
        prior=known.prior(fact.relation, lang, template),
        lang=lang,
        about=said.subject,
        relation=fact.relation,
        rival=candidates.index(known.name(rivals[0], lang)) if rivals else None,
    )


def ask_chain(known: Knowledge, before: Chain, after: Chain, lang: str, template: int) -> Probe:
    """One question of several hops whose right answer an edit moves from the end of `before` to the end of `after`.

    It counts only where the unedited model knows every hop behind the edited one.
    """
    said = known.render_chain(before, lang, template)
    old, right = (known.name(chain.answer, lang) for chain in (before, after))
    relation = before.form.relations[-1]
    candidates = known.candidates(relation, lang, right, M, (old,))
    return Probe(
        kind="multi_hop",
        prompt=said.filled,
        candidates=candidates,
        answer=candidates.index(right),
        old=candidates.index(old),
        prior=before.form.templates(lang)[template].prior(),
        lang=lang,
        about=said.subject,
        relation="+".join(before.form.relations),
        needs=tuple(ask_link(known, link, lang) for link in after.links[1:]),
    )


def ask_link(known: Knowledge, link: Fact, lang: str) -> Question:
    """A single hop of a chain as a question."""
    right = known.name(link.object, lang)
    candidates = known.candidates(link.relation, lang, right, M)
    prompt, prior = known.render(link, lang, 0).filled, known.prior(link.relation, lang, 0)
    return Question(prompt, candidates, candidates.index(right), prior)


def multi_hop(known: Knowledge, fact: Fact, new: str) -> list[Probe]:
    """A question per language for each chain that starts with `fact` and ends elsewhere with `new` as its object."""
    probes = []
    for before in known.chains(fact.subject):
        after = known.follow(before.form, fact.subject, replace(fact, object=new))
        if before.links[0] == fact and after is not None and after.answer != before.answer:
            probes += [ask_chain(known, before, after, lang, 0) for lang in known.langs]
    return probes


def neighbours(known: Knowledge, fact: Fact, new: str, rng: random.Random) -> list[Fact]:
    """Facts of the same relation about other subjects: those with the same object first, then siblings, then the rest.

    None of them has `new` as its true object, so a right answer never looks like the edit's spill.
    """
    others = [f for f in known.facts_of(fact.relation) if f.subject != fact.subject and f.object != new]
    rng.shuffle(others)
    kin = set(known.siblings(fact.subject))
    return sorted(others, key=lambda f: (f.object != fact.object, f.subject not in kin))


def fact_case(
    known: Knowledge,
    fact: Fact,
    dataset: str,
    seed: int,
    lang: str = "en",
    drawn_in: Knowledge | None = None,
    beside: Sequence[Fact] | None = None,
) -> Case:
    """The edit of one true fact to a counterfactual object, made in `lang`, with every kind of probe.

    The counterfactual object and the facts that are evaluated beside are the same in both languages.

    Args:
        drawn_in: the world by whose names the counterfactual object is drawn; `known` when left out.
        beside: the facts of the `same_subject` probes; all others stated under the subject's name when left out.
    """
    case_id = f"fact:{fact.subject}:{fact.relation}"
    rng = random.Random(f"{seed}/{case_id}")
    new = counterfactual(drawn_in or known, fact, rng)
    first = known.render(fact, lang, 0)
    others = [one for one in known.langs if one != lang]
    probes = [ask(known, "efficacy", fact, lang, 0, new)]
    for template in range(1, known.n_templates(fact.relation, lang)):
        probes.append(ask(known, "paraphrase", fact, lang, template, new))
    for other in others:
        if known.speaks(other, fact.relation, fact.subject, fact.object, new):
            for template in range(min(CROSS_LINGUAL, known.n_templates(fact.relation, other))):
                probes.append(ask(known, "cross_lingual", fact, other, template, new))
    probes += multi_hop(known, fact, new)
    near = neighbours(known, fact, new, rng)
    own = [f for f in known.about(fact.subject) if f.relation != fact.relation]
    same_name = turns([known.namesakes(fact.subject), own]) if beside is None else beside
    for probe_lang, counted in ((lang, "own"), *((other, "other") for other in others)):
        kin = (f for f in near if known.speaks(probe_lang, f.relation, f.subject, f.object, new, fact.object))
        for i, neighbour in enumerate(islice(kin, NEIGHBOURS[counted])):
            template = i % min(3, known.n_templates(neighbour.relation, probe_lang))
            probes.append(ask(known, "neighbour", neighbour, probe_lang, template, rivals=(new, fact.object)))
        spoken = [f for f in same_name if known.speaks(probe_lang, f.relation, f.subject, f.object)]
        for i, same in enumerate(spoken[: SAME_SUBJECT[counted]]):
            template = i % min(3, known.n_templates(same.relation, probe_lang))
            probes.append(ask(known, "same_subject", same, probe_lang, template))
    request = EditRequest(case_id, (first.prompt,), first.subject, (known.name(new, lang),), "subject_last", lang)
    return Case(case_id, "fact", request, tuple(probes), first.subject, fact.relation, dataset, seed)


def fact_cases(known: Knowledge, subject_kind: str, dataset: str, seed: int, lang: str = "en") -> list[Case]:
    """One case per fact about a subject with at least three facts (of a file's own concepts, any), edited in `lang`.

    Relations take turns, each starting at other subjects, so that every prefix is varied.
    """
    relations = [r for r in known.relations() if known.relation(r).subject_kind == subject_kind]
    groups = []
    for j, relation in enumerate(relations):
        facts = [f for f in known.facts_of(relation) if len(known.about(f.subject)) >= 3 or known.own]
        if known.own:
            facts = [f for f in facts if f.subject in known.own and len(known.objects(relation)) > 1]
        by_group: dict[str, list[Fact]] = {}
        for fact in facts:
            by_group.setdefault(known.entity(fact.subject).group, []).append(fact)
        # Concepts alternate between types; countries keep the order of fame.
        ordered = turns(by_group.values()) if subject_kind == "concept" else facts
        n = len(relations)
        ordered = [f for i, f in enumerate(ordered) if i % n == j] + [f for i, f in enumerate(ordered) if i % n != j]
        groups.append(ordered)
    return [fact_case(known, fact, dataset, seed, lang) for fact in turns(groups)]


def find_concept(known: Knowledge, name: str) -> str:
    """The key of the concept called `name` in the language of the edits; capitals and a plural in s do not matter.

    Raises:
        UnknownConcept: no such concept; the message names the nearest ones.
        BadRequest: its name in another language.
    """
    home = known.langs[0]
    names = {known.name(key, home).casefold(): key for key in known.concepts()}
    folded = " ".join(name.split()).casefold()
    if home == "en" and folded not in names and folded.endswith("s") and folded[:-1] in names:
        folded = folded[:-1]
    if folded in names:
        return names[folded]
    for lang in known.langs[1:]:
        for key in known.concepts():
            if folded in (text.casefold() for text in known.named([key], lang)):
                language = language_name(lang)
                here = known.name(key, home)
                raise BadRequest(f"concept {name!r} is {language}; use its {language_name(home)} name {here!r}")
    near = difflib.get_close_matches(folded, list(names), n=3, cutoff=0.5) or list(names)[:3]
    raise UnknownConcept(f"unknown concept {name!r}; the nearest known ones are {', '.join(near)}")
