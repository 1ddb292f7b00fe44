"""Invented people: their names, their facts, agreement in French, and questions of several hops."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.grown.corpus import Split, make_corpus
from benchmarks.world.facts import LANGS, ChainForm, Fact
from benchmarks.world.knowledge import Knowledge, knowledge
from editing.errors import BadData, BadRequest
from editing.text import join


@pytest.fixture(scope="module")
def known() -> Knowledge:
    return knowledge(people=250)


def test_250_people_give_1250_facts_and_more(known: Knowledge) -> None:
    people = known.people()
    assert len(people) == 250 and all(len(known.about(person)) >= 5 for person in people)
    assert sum(len(known.about(person)) for person in people) >= 1250
    plain = knowledge()
    assert known.facts[: len(plain.facts)] == plain.facts and not plain.chains() and not plain.people()


def test_a_smaller_world_is_the_beginning_of_a_larger_one(known: Knowledge) -> None:
    small = knowledge(people=40)
    assert small.people() == known.people()[:40] and set(small.facts) < set(known.facts)
    for person in small.people():
        assert small.about(person) == known.about(person) and small.entity(person) == known.entity(person)


def test_names_are_unique_even_when_family_names_come_again() -> None:
    many = knowledge(people=2500)
    names = [many.name(person, "en") for person in many.people()]
    assert len(set(names)) == 2500
    assert len({name.split()[1] for name in names[:1000]}) == 1000 == len({name.split()[1] for name in names})


def test_facts_are_spread(known: Knowledge) -> None:
    for relation in ("born_in", "profession", "employer", "instrument", "hobby", "dish"):
        given = [fact.object for fact in known.facts_of(relation)]
        assert len(set(given)) >= 0.9 * min(len(known.objects(relation)), 54)
        assert max(given.count(key) for key in set(given)) <= 30


def say(known: Knowledge, person: str, relation: str, lang: str, template: int) -> str:
    said = known.render(next(f for f in known.about(person) if f.relation == relation), lang, template)
    return join(said.filled, said.target)


def test_french_agrees_with_the_person(known: Knowledge) -> None:
    words = {person: known.entity(person).word for person in known.people()}
    woman = next(p for p, word in words.items() if word.fr.gender == "f" and word.fr.elides)
    man = next(p for p, word in words.items() if word.fr.gender == "m" and not word.fr.elides)
    assert f"{words[woman].fr.name} est née dans" in say(known, woman, "born_in", "fr", 1)
    assert f"{words[man].fr.name} est né dans" in say(known, man, "born_in", "fr", 1)
    assert ", elle dit : " in say(known, woman, "profession", "fr", 4)
    assert ", il dit : " in say(known, man, "profession", "fr", 4)
    assert say(known, woman, "employer", "fr", 2).startswith(f"Le salaire d'{words[woman].fr.name} est versé par ")
    assert say(known, man, "employer", "fr", 2).startswith(f"Le salaire de {words[man].fr.name} est versé par ")
    assert known.prior("profession", "fr", 4) == "Quand on demande à quelqu'un son métier, il dit :"


def test_capitals_know_their_country(known: Knowledge) -> None:
    assert known.object_of("city:paris", "in_country") == "country:FR"
    for fact in known.facts_of("capital"):
        assert known.object_of(fact.object, "in_country") == fact.subject


def test_chains_hang_together(known: Knowledge) -> None:
    chains = known.chains()
    assert {len(chain.links) for chain in chains} == {2, 3} and len(chains) > 1000
    result = set(known.facts)
    for chain in chains:
        assert set(chain.links) <= result and [link.relation for link in chain.links] == list(chain.form.relations)
        assert all(a.object == b.subject for a, b in zip(chain.links, chain.links[1:], strict=False))
    person = known.people()[0]
    assert {chain.subject for chain in known.chains(person)} == {person}


def test_a_changed_link_changes_the_end(known: Knowledge) -> None:
    form = next(form for form in known.forms if form.relations == ("born_in", "in_country", "currency"))
    person = known.people()[0]
    moved = known.follow(form, person, Fact(person, "born_in", "city:tokyo"))
    assert moved is not None and moved.answer == "currency:yen"
    assert known.follow(form, "country:FR") is None


def test_hops_are_asked_of_told_links_and_never_trained(known: Knowledge) -> None:
    split = Split()
    corpus = make_corpus(known, split)
    trained = {s.prompt for s in corpus.train}
    for lang in LANGS:
        questions = corpus.sentences("multi_hop", lang)
        assert len(questions) > 300 and not trained & {s.prompt for s in questions}
        whole = [c for c in known.chains() if all(lang in split.telling(known, link).langs for link in c.links)]
        assert len(questions) == 2 * len(whole)
        assert 0 < corpus.chance(questions) < 0.5
    assert not make_corpus(knowledge()).sentences("multi_hop", "en")


def test_mistakes_are_named(known: Knowledge) -> None:
    for wrong in (-1, 20_001):
        with pytest.raises(BadRequest, match=f"people={wrong}: ask for 1 to 20,000"):
            knowledge(people=wrong)
    with pytest.raises(BadData, match="two or more known relations"):
        replace(known, forms=(ChainForm(("born_in", "nowhere"), (), ()),))
