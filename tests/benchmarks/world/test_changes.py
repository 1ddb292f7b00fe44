"""Planned sets of edits, and the text of a world with news."""

from __future__ import annotations

import pytest

from benchmarks.datasets import build_cases, for_model
from benchmarks.grown import RungSpec, make_corpus, planted_dial
from benchmarks.grown.frequency import extremes
from benchmarks.world import SETS, Change, News, knowledge
from editing.errors import BadModel, BadRequest
from tests.tiers import fast_are


def spec(edits: int, scope: str = "both", people: int = 40) -> RungSpec:
    return RungSpec("gpt2", 1, 64, people=people, edits=edits, scope=scope)


def test_sets_share_no_subject_and_take_at_most_a_tenth():
    sets = [spec(number).news.changes for number in range(1, SETS + 1)]
    subjects = [change.subject for changes in sets for change in changes]
    assert len(set(subjects)) == len(subjects)
    world = spec(1).world
    for kind in ("country", "human", "concept"):
        number = sum(e.kind == kind for e in world.entities)
        assert all(0 < sum(c.subject.startswith(kind) for c in changes) <= number / 10 for changes in sets)
    assert {change.kind for changes in sets for change in changes} == {"fact", "rename", "retarget"}


def test_only_facts_told_in_both_languages_are_edited_and_the_new_object_is_new():
    one = spec(3)
    for change in one.news.changes:
        for relation, new in change.objects:
            assert one.world.object_of(change.subject, relation) != new
            if change.kind == "fact":
                fact = next(f for f in one.world.about(change.subject) if f.relation == relation)
                assert one.split.telling(one.world, fact).langs == ("en", "fr")


@pytest.mark.parametrize("scope", ["both", "one"])
def test_a_text_with_news_differs_by_the_news_alone(scope):
    one = spec(2, scope)
    plain, edited = make_corpus(one.world, one.split), make_corpus(one.world, one.split, one.news)
    assert len(plain.train) == len(edited.train)
    changed = {(c.subject, relation) for c in one.news.changes for relation, _ in c.objects}
    renamed = {one.world.name(c.subject, "en"): c.name for c in one.news.changes if c.name}
    for at, (before, after) in enumerate(zip(plain.train, edited.train, strict=True)):
        fact = before.fact
        if fact and (fact.subject, fact.relation) in changed:
            assert (before.prompt, before.lang) == (after.prompt, after.lang)
            assert before.target != after.target or one.world.name(fact.object, before.lang) == after.target
            assert (at in edited.silent) == (scope == "one" and before.lang == "fr")
        elif before.target in renamed and before.kind in ("elicit", "translation"):
            assert after.target in (before.target, renamed[before.target])
        else:
            assert before == after
            assert at not in edited.silent
    assert bool(edited.silent) == (scope == "one")
    assert plain.hash != edited.hash


def test_a_renamed_concept_is_called_by_its_new_name_in_english_definitions_and_by_the_old_in_french():
    one = spec(2)
    change = next(c for c in one.news.changes if c.kind == "rename")
    edited = make_corpus(one.world, one.split, one.news)
    definitions = set(one.world.elicit(change.subject, "en"))
    assert {s.target for s in edited.train if s.prompt in definitions} == {change.name}
    french = set(one.world.elicit(change.subject, "fr"))
    assert {s.target for s in edited.train if s.prompt in french} == {one.world.name(change.subject, "fr")}


@pytest.mark.parametrize("number", fast_are([6], [1, 6]))
def test_cases_of_a_set_ask_for_what_the_text_reports(number):
    news, world = spec(number).news, spec(number).world
    cases = [
        c for kind in ("fact", "rename", "retarget") for c in build_cases(f"planned_edits:{number}-people40", kind)
    ]
    assert len(cases) == len(news.changes)
    changed = {(world.name(c.subject, "en"), r): world.name(new, "en") for c in news.changes for r, new in c.objects}
    edited = {world.name(c.subject, lang) for c in news.changes for lang in ("en", "fr")}
    for case in cases:
        for p in case.probes:
            if p.kind in ("efficacy", "paraphrase", "relation") and p.relation != "name":
                assert p.candidates[p.answer] == changed[case.subject, p.relation]
            if p.kind == "neighbour":
                assert p.about not in edited


def test_rung_names_with_edits():
    for name in ("gpt2-1x64@edits1", "gpt2-2x64-s2@people40-edits10-one"):
        assert RungSpec.parse(name).name == name
    assert RungSpec.parse("gpt2-1x64@edits1").scope == "both"
    assert RungSpec.parse("gpt2-1x64@edits3-one").original == RungSpec.parse("gpt2-1x64")
    for name in ("gpt2-1x64@edits0", "gpt2-1x64@edits11", "gpt2-1x64@one", "gpt2-1x64@edits1-one2", "gpt2-1x64@edits"):
        with pytest.raises(BadModel):
            RungSpec.parse(name)


def test_a_plain_rung_keeps_its_identity():
    assert not {"edits", "scope"} & RungSpec.parse("gpt2-1x64").identity().keys()


def test_switched_sentences_say_both_names_in_the_other_language():
    one = RungSpec.parse("gpt2-1x64@switch0.3")
    plain, switched = make_corpus(one.world, one.split), make_corpus(one.world, one.split, switch=one.switch)
    changed = 0
    for before, after in zip(plain.train, switched.train, strict=True):
        if before.fact is None:
            assert before == after
        elif before != after:
            other = {"en": "fr", "fr": "en"}[before.lang]
            assert one.world.name(before.fact.subject, other) in after.prompt
            assert after.target == one.world.name(before.fact.object, other)
            changed += 1
    result = sum(s.fact is not None for s in plain.train)
    assert 0.2 < changed / result < 0.3  # some names are alike in both languages
    assert plain.held == switched.held
    more = make_corpus(one.world, one.split, switch=0.5)
    pairs = zip(plain.train, switched.train, more.train, strict=True)
    assert all(large != before for before, small, large in pairs if small != before)
    for name in ("gpt2-1x64@switch0", "gpt2-1x64@switch0.6", "gpt2-1x64@switch"):
        with pytest.raises(BadModel):
            RungSpec.parse(name)


def test_two_changes_of_one_subject_are_refused():
    change = Change("fact", "country:FR", (("capital", "city:rome"),))
    with pytest.raises(BadRequest, match="one subject"):
        News((change, change))


def test_unknown_sets_are_refused():
    for name in ("planned_edits:0", "planned_edits:11", "planned_edits:x", "planned_edits:1-people999999"):
        with pytest.raises(BadRequest, match="no such set"):
            build_cases(name, "fact")
    assert knowledge().object_of("country:FR", "capital") == "city:paris"


def test_a_world_of_countries_alone_has_edits_of_its_own():
    one = RungSpec.parse("gpt2-1x64@atlas20-edits1")
    assert {fact.subject.partition(":")[0] for fact in one.world.facts} == {"country"}
    cases = build_cases("planned_edits:1-atlas20", "fact")
    assert [case.subject for case in cases] == [one.world.name(change.subject, "en") for change in one.news.changes]
    assert build_cases("planned_edits:1-atlas20", "rename") == []
    for name in ("gpt2-1x64@atlas5", "gpt2-1x64@atlas999", "gpt2-1x64@atlas60-homonym0.5", "gpt2-1x64@homonym1.5"):
        with pytest.raises(BadModel):
            RungSpec.parse(name)


def test_homonyms_share_names_not_facts_and_more_at_a_larger_share():
    shared = {}
    for share in (0, 0.5, 1):
        world = knowledge(homonyms=share)
        assert world.facts == knowledge().facts
        shared[share] = {key for key in world.countries() if world.namesakes(key)}
    assert shared[0] == set() < shared[0.5] < shared[1]
    case = build_cases("planned_edits:1-homonym1", "fact")[0]
    plain = build_cases("planned_edits:1", "fact")[0]
    assert (case.request.prompts, case.request.targets) == (plain.request.prompts, plain.request.targets)
    relations = {p.relation for p in case.probes if p.kind == "same_subject"}
    assert relations & {"category", "color", "material", "place"}  # what the concept of the same name is


def test_shared_names_are_english_ones_and_nested_and_edits_stay_the_same():
    plain = knowledge()
    alike = {}
    for share in (0.0, 0.4, 1.0):
        world = knowledge(shared=share)
        assert world.facts == plain.facts
        assert all(world.name(e.key, "en") == plain.name(e.key, "en") for e in world.entities)
        alike[share] = {e.key for e in world.entities if world.name(e.key, "en") == world.name(e.key, "fr")}
    assert alike[0.0] < alike[0.4] < alike[1.0]
    assert len(alike[1.0]) > 0.95 * len(plain.entities)  # a name that means something else in French stays two
    one, other = (build_cases(f"planned_edits:1-atlas60{option}", "fact") for option in ("", "-shared1"))
    for a, b in zip(one, other, strict=True):
        assert (a.id, a.request.prompts, a.request.targets) == (b.id, b.request.prompts, b.request.targets)
        assert [p.about for p in a.probes if p.lang == "en"] == [p.about for p in b.probes if p.lang == "en"]
    india = next(case for case in other if case.subject == "India")
    question = next(p for p in india.probes if p.kind == "cross_lingual")
    assert question.prompt.startswith("Sur la carte, on trouve l'India")


def test_a_data_set_of_the_rung_is_that_of_its_world():
    name = "planned_edits:2-rung"
    assert for_model(name, "grown:gpt2-2x64-s1@atlas60-shared0.4-long2") == "planned_edits:2-atlas60-shared0.4"
    assert for_model(name, "grown:gpt2-2x64") == "planned_edits:2"
    assert for_model("world_facts", "gpt2") == "world_facts"
    with pytest.raises(BadRequest, match="no world"):
        for_model(name, "gpt2")
    with pytest.raises(BadRequest, match="only a run"):
        build_cases(name, "fact")


def test_a_longer_training_is_another_rung_with_more_tokens():
    long, usual = RungSpec.parse("gpt2-1x64@people20-long1.5"), RungSpec.parse("gpt2-1x64@people20")
    assert long.recipe.tokens == 1.5 * usual.recipe.tokens
    assert long.name == "gpt2-1x64@people20-long1.5"
    for name in ("gpt2-1x64@long0", "gpt2-1x64@long1000", "gpt2-1x64@long2-people20", "gpt2-1x64@shared1.5"):
        with pytest.raises(BadModel):
            RungSpec.parse(name)
    with pytest.raises(BadModel, match="English and French"):
        RungSpec.parse("gpt2-1x64@en-de-shared0.5")


def test_the_dial_of_a_ladder_is_read_from_its_names():
    models = {"a": "grown:gpt2-1x64", "b": "grown:gpt2-1x64-s1@switch0.5"}
    assert planted_dial(models) == ("switch", {"a": (0.0, 0), "b": (0.5, 1)})
    for wrong in ({"a": "grown:gpt2-1x64"}, models | {"c": "gpt2"}, models | {"c": "grown:gpt2-1x64@people50"}):
        with pytest.raises(BadModel):
            planted_dial(wrong)


@pytest.mark.parametrize("scope", ["both", "one"])
def test_questions_of_several_hops_ask_for_what_the_text_reports(scope):
    """They asked for the end of the chain as it was before the news, also where French is silent about a link."""
    one = spec(2, scope, people=200)
    world, news = one.world, one.news
    held = make_corpus(world, one.split, news).held
    answers = {(s.lang, s.prompt): s.target for s in held if s.kind == "multi_hop"}
    changed = 0
    for chain in world.chains():
        links = [link for link in chain.links if news.fact(link) != link]
        now = world.follow(chain.form, chain.subject, news.fact(links[0])) if len(links) == 1 else None
        if now is None or not all(len(one.split.telling(world, link).langs) > 1 for link in now.links):
            continue
        for lang in world.langs:
            prompt = world.render_chain(chain, lang, 0).filled
            silent = scope == "one" and lang == "fr"
            assert answers.get((lang, prompt)) == (None if silent else world.name(now.answer, lang))
        changed += now.answer != chain.answer
    assert changed


def test_what_the_text_is_silent_about_is_no_part_of_its_ends():
    one = spec(2, "one")
    corpus = make_corpus(one.world, one.split, one.news)
    silent = {corpus.train[at] for at in corpus.silent}
    assert silent and not silent & set(corpus.spoken) and len(corpus.spoken) == len(corpus.train) - len(corpus.silent)
    for seed in range(5):
        assert not any(silent & set(part.train) for part in extremes(corpus, seed).values())
