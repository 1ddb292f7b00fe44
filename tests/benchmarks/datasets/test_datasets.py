"""Cases of every data set: valid, varied, deterministic, and true to the rules of their edit kind."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.cases import SPECIFICITY, Case
from benchmarks.datasets.ours import concept_suite, people_facts, world_facts
from benchmarks.datasets.ours.concept_suite import KEPT, rename_case, retarget_case
from benchmarks.datasets.registry import build_cases, dataset_names, describe, forms, kinds_of
from benchmarks.world.concepts import EDIT_PROMPTS
from benchmarks.world.knowledge import knowledge
from editing.errors import BadRequest

OWN = {"concept_suite": concept_suite, "people_facts": people_facts, "world_facts": world_facts}
SETS = [(name, kind) for name in OWN for kind in kinds_of(name)]
FEW = {"people_facts": "40"}  # arguments; the default of 250 people takes seconds to build
FEWEST = {
    "fact": {
        ("efficacy", "en"): 1,
        ("paraphrase", "en"): 3,
        ("cross_lingual", "fr"): 2,
        ("neighbour", "en"): 4,
        ("neighbour", "fr"): 2,
        ("same_subject", "en"): 2,
        ("same_subject", "fr"): 1,
    },
    "rename": {
        ("efficacy", "en"): EDIT_PROMPTS,
        ("paraphrase", "en"): 2,
        ("neighbour", "en"): 4,
        ("same_subject", "fr"): 4,
    },
    "retarget": {
        ("efficacy", "en"): 2,
        ("paraphrase", "en"): 6,
        ("relation", "en"): 3,
        ("cross_lingual", "fr"): 4,
        ("neighbour", "en"): 4,
        ("neighbour", "fr"): 2,
    },
}


def object_name(subject: str, relation: str, lang: str) -> str:
    key = knowledge().object_of(subject, relation)
    assert key is not None
    return knowledge().name(key, lang)


@pytest.fixture(scope="module")
def all_cases() -> dict[tuple[str, str], list[Case]]:
    return {(name, kind): OWN[name].cases(kind, 0, FEW.get(name, "")) for name, kind in SETS}


def test_the_registry_lists_every_module():
    assert sorted((*OWN, "erasures", "homonym_edits", "planned_edits", *forms())) == list(dataset_names())
    assert {"counterfact", "easyedit", "en_fr", "fact_file", "facts_table", "lre", "mpararel", "mquake"} < set(forms())
    assert all(len(describe(name)) > 20 and "\n" not in describe(name) for name in dataset_names())


@pytest.mark.parametrize("key", SETS, ids="-".join)
def test_every_case_has_all_its_probes(all_cases, key):
    cases = all_cases[key]
    assert len(cases) >= 44 and len({case.id for case in cases}) == len(cases)
    for case in cases:
        assert case.kind == key[1] and case.dataset == key[0]
        counts = Counter((probe.kind, probe.lang) for probe in case.probes)
        short = {kind: counts[kind] for kind, least in FEWEST[case.kind].items() if counts[kind] < least}
        assert not short, (case.id, short)


@pytest.mark.parametrize("key", SETS, ids="-".join)
def test_every_probe_is_sound(all_cases, key):
    for case in all_cases[key]:
        targets = set(case.request.targets)
        prompts = [(probe.prompt, probe.lang) for probe in case.probes]
        assert len(set(prompts)) == len(prompts), case.id
        for probe in case.probes:
            where = (case.id, probe.kind, probe.prompt)
            assert probe.prior and "{" not in probe.prompt + probe.prior, where
            assert 7 <= len(probe.candidates) <= 20, where
            answer, old = probe.candidates[probe.answer], probe.candidates[probe.old or 0]
            if probe.kind in SPECIFICITY:
                assert probe.answer == probe.old, where
            else:
                assert probe.old is not None and answer != old, where
            if probe.kind == "neighbour" and probe.lang == "en":
                assert answer not in targets or case.kind == "retarget", where
                assert probe.about != case.subject, where
                if case.kind != "retarget":
                    assert targets <= set(probe.candidates), where


@pytest.mark.parametrize("key", SETS, ids="-".join)
def test_efficacy_asks_the_request(all_cases, key):
    for case in all_cases[key]:
        probes = [(p.prompt, p.candidates[p.answer]) for p in case.probes if p.kind == "efficacy"]
        assert sorted(probes) == sorted(zip(case.request.filled(), case.request.targets, strict=True))


@pytest.mark.parametrize("key", SETS, ids="-".join)
def test_same_seed_same_cases_and_limit_is_a_prefix(all_cases, key):
    (name, kind), cases = key, all_cases[key]
    name = f"{name}:{FEW[name]}" if name in FEW else name
    assert build_cases(name, kind, limit=5, seed=0) == cases[:5]
    if kind != "rename":
        again = {case.id: case.request.targets for case in build_cases(name, kind, seed=1)}
        assert again != {case.id: case.request.targets for case in cases}


def test_a_short_sample_is_varied(all_cases):
    assert len({case.relation for case in all_cases["world_facts", "fact"][:8]}) == 4
    assert len({case.subject for case in all_cases["world_facts", "fact"][:8]}) >= 6
    assert len({case.relation for case in all_cases["concept_suite", "fact"][:12]}) == 6
    for kind in ("rename", "retarget"):
        cases = all_cases["concept_suite", kind]
        assert cases[0].subject == "cheese"
        assert len({case.relation for case in cases[:9]}) >= 8


def test_french_edits_are_the_same_edits_asked_the_other_way_round():
    known = knowledge()
    pairs = zip(build_cases("world_facts", "fact"), build_cases("world_facts:fr", "fact"), strict=True)
    for english, french in pairs:
        assert (english.id, english.relation) == (french.id, french.relation)
        assert (french.dataset, french.request.lang) == ("world_facts:fr", "fr")
        there = {kind: {p.lang for p in french.probes if p.kind == kind} for kind in ("paraphrase", "cross_lingual")}
        assert there == {"paraphrase": {"fr"}, "cross_lingual": {"en"}}
        relation = known.objects(english.relation)
        names = {known.name(key, "en"): known.name(key, "fr") for key in relation}
        assert names[english.request.targets[0]] == french.request.targets[0]
        for lang, case in (("en", english), ("fr", french)):
            assert sum(p.kind == "neighbour" and p.lang == lang for p in case.probes) == 6


def test_neighbours_answer_truly_and_share_the_old_object_first(all_cases):
    known = knowledge()
    for case in all_cases["world_facts", "fact"]:
        _, kind, code, relation = case.id.split(":")
        own = known.object_of(f"{kind}:{code}", relation)
        sharing = sum(f.object == own for f in known.facts_of(relation)) - 1
        near = [p for p in case.probes if p.kind == "neighbour" and p.lang == "en"]
        same = [p.candidates[p.answer] == object_name(f"{kind}:{code}", relation, "en") for p in near]
        assert sum(same) == min(len(near), sharing) and same == sorted(same, reverse=True)
        truth = {known.name(f.subject, "en"): known.name(f.object, "en") for f in known.facts_of(relation)}
        assert all(truth[p.about] == p.candidates[p.answer] for p in near)


def test_people_are_asked_through_chains(all_cases):
    known, cases = knowledge(people=40), all_cases["people_facts", "fact"]
    assert len(cases) == 240 and len({case.relation for case in cases[:6]}) == 6
    questions = set()
    for case in cases:
        hops = [probe for probe in case.probes if probe.kind == "multi_hop"]
        questions |= {(case.relation, probe.lang) for probe in hops}
        kind, slug = case.id.split(":")[1:3]
        old = known.object_of(f"{kind}:{slug}", case.relation)
        for probe in hops:
            assert probe.relation.startswith(case.relation + "+") and probe.about == case.subject
            new = next(key for key in known.objects(case.relation) if known.name(key, "en") == case.request.targets[0])
            for index, key in ((probe.answer, new), (probe.old, old)):
                for relation in probe.relation.split("+")[1:]:
                    key = known.object_of(key, relation)
                assert probe.candidates[index] == known.name(key, probe.lang)
    assert questions == {(relation, lang) for relation in ("born_in", "employer") for lang in ("en", "fr")}


@pytest.mark.slow
def test_a_larger_world_has_the_cases_of_a_smaller_one(all_cases):
    few, cases = all_cases["people_facts", "fact"], build_cases("people_facts", "fact")
    assert len(cases) >= 1000 and {case.id for case in few} < {case.id for case in cases}


def test_no_other_data_set_has_questions_of_several_hops(all_cases):
    result = {key for key, cases in all_cases.items() for c in cases for p in c.probes if p.kind == "multi_hop"}
    assert result == {("people_facts", "fact")}


def test_retarget_holds_relations_out_and_moves_to_the_goal(all_cases):
    known = knowledge()
    for case in all_cases["concept_suite", "retarget"]:
        a, b = case.id.removeprefix("retarget:").split("=")
        assert known.entity(f"concept:{a}").group != known.entity(f"concept:{b}").group
        probes = {p.relation for p in case.probes if p.kind == "efficacy"}
        held = {p.relation for p in case.probes if p.kind == "relation"}
        assert held and not probes & held
        for probe in case.probes:
            if probe.kind in ("efficacy", "paraphrase", "relation", "cross_lingual"):
                goal = object_name(f"concept:{b}", probe.relation, probe.lang)
                assert probe.candidates[probe.answer] == goal
            if probe.kind == "neighbour":
                goal = object_name(f"concept:{b}", probe.relation, probe.lang)
                assert probe.candidates[probe.answer] != goal


def test_rename_of_a_pair_of_ones_own():
    """What it keeps are definitions in the edit's frames, of neither the concept nor its siblings."""
    known = knowledge()
    case = rename_case("cheese", "fromage")
    assert case == build_cases("concept_suite", "rename", limit=1)[0]
    assert len(case.request.prompts) == EDIT_PROMPTS and case.request.lookup == "last"
    odd = rename_case("Cheese", "zorblax")
    assert odd.request.targets[0] == "zorblax" and odd.id == "rename:cheese=zorblax"
    french = [p for p in odd.probes if p.lang == "fr"]
    assert french and all(p.candidates[p.answer] == "fromage" for p in french)
    texts = known.elicit("concept:cheese", "en") + known.elicit("concept:butter", "en")
    assert len(set(odd.request.keep)) == KEPT * EDIT_PROMPTS and not set(odd.request.keep) & set(texts)
    assert odd.request.keep[0].rsplit(". ", 1)[0] == odd.request.prompts[0].rsplit(". ", 1)[0]
    near = rename_case("cheese", "bread")
    assert all(p.candidates[p.answer] != "bread" for p in near.probes if p.kind == "neighbour")


def test_retarget_of_near_concepts_works():
    case = retarget_case("cheese", "bread")
    assert set(case.request.targets) < {"brown", "flour", "baker"}
    assert any(p.kind == "same_subject" for p in case.probes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rename_case("chese", "fromage"), "nearest known ones are cheese"),
        (lambda: rename_case("fromage", "cheese"), "English name 'cheese'"),
        (lambda: rename_case("zzz", "fromage"), "unknown concept 'zzz'"),
        (lambda: rename_case("cheese", " "), "give another word"),
        (lambda: rename_case("cheese", "Cheese"), "give another word"),
        (lambda: retarget_case("cheese", "cheese"), "choose another pair"),
        (lambda: retarget_case("cheese", "breed"), "bread"),
        (lambda: build_cases("world_fact", "fact"), "use world_facts"),
        (lambda: build_cases("world_facts", "rename"), "has no 'rename' edits"),
        (lambda: build_cases("world_facts", "fact", limit=0), "at least one"),
        (lambda: build_cases("world_facts:de", "fact"), "write world_facts or world_facts:fr"),
        (lambda: build_cases("fact_file", "fact"), "fact_file:PATH"),
        (lambda: build_cases("people_facts:many", "fact"), "people_facts:many: not a number of people"),
        (lambda: build_cases("people_facts:5", "fact"), "write 20 or more"),
        (lambda: build_cases("people_facts:99999", "fact"), "ask for 1 to 20,000"),
    ],
)
def test_mistakes_are_one_line(call, message):
    with pytest.raises(BadRequest, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
