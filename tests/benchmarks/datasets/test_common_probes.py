"""Probes that every case gets, and what a probe may be."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.cases import Case, Probe, Question
from benchmarks.datasets.common_probes import with_common_probes
from benchmarks.datasets.registry import build_cases
from benchmarks.texts.fixed import LANGUAGES, ability_items
from editing.errors import BadData
from editing.text.requests import EditRequest

COMMON = ("neighbour_plus", "drift", "fluency", "ability")
PEOPLE = "people_facts:40"  # the default of 250 takes seconds to build each time
NAMED = (("world_facts", "fact"), (PEOPLE, "fact"), ("concept_suite", "rename"), ("concept_suite", "retarget"))


@pytest.mark.parametrize(("name", "kind"), NAMED)
def test_every_data_set_gets_them(name: str, kind: str) -> None:
    plain = build_cases(name, kind, 12)
    for before, case in zip(plain, with_common_probes(plain), strict=True):
        assert case.probes[: len(before.probes)] == before.probes
        added = Counter(p.kind for p in case.probes[len(before.probes) :])
        languages = len({p.lang for p in before.probes if p.kind == "neighbour"})
        assert added == Counter({"neighbour_plus": languages, "drift": 2, "fluency": 1, "ability": 3})
        target = case.request.targets[0].lower()
        for p in (p for p in case.probes if p.kind == "neighbour_plus"):
            (plain_one,) = [q for q in before.probes if q.kind == "neighbour" and p.prompt.endswith(". " + q.prompt)][
                :1
            ]
            said = p.prompt.removesuffix(plain_one.prompt).lower()
            assert (p.candidates, p.answer, p.rival) == (plain_one.candidates, plain_one.answer, plain_one.rival)
            if p.lang == "en" and p.relation in (case.relation, "name"):
                assert target in said, (target, said)


def test_the_sentence_is_in_the_neighbours_language() -> None:
    (case,) = with_common_probes(build_cases("world_facts", "fact", 1))
    new = {p.lang: p.candidates[p.answer] for p in case.probes if p.kind in ("efficacy", "cross_lingual")}
    about = {p.lang: p.prompt for p in case.probes if p.kind == "neighbour_plus"}
    assert set(about) == {"en", "fr"} and all(f" {new[lang]}. " in text for lang, text in about.items())


def test_neighbours_have_the_edits_target_as_rival() -> None:
    for name, kind in NAMED:
        for case in build_cases(name, kind, 12):
            for p in case.probes:
                if p.kind != "neighbour" or p.lang != "en":
                    continue
                assert p.rival is not None and p.against == p.rival and p.rival != p.answer
                if kind != "retarget":  # there the target of the relation requested
                    assert p.candidates[p.rival] == case.request.targets[0]


def test_what_follows_the_edited_hop_must_be_known() -> None:
    hops = [p for case in build_cases(PEOPLE, "fact", 200) for p in case.probes if p.kind == "multi_hop"]
    assert hops
    for p in hops:
        assert len(p.needs) == p.relation.count("+")  # every link but the first
        last = p.needs[-1]
        assert last.candidates[last.answer] == p.candidates[p.answer]


def test_ones_own_probes_are_kept_and_bounded() -> None:
    (case,) = build_cases("world_facts", "fact", 1)
    own = Probe("fluency", "My own beginning"), Probe("drift", "My own text."), Probe("drift", "Another.")
    case = Case(**{**vars(case), "probes": (*case.probes, *own)})
    (done,) = with_common_probes([case], 1)
    assert [p.prompt for p in done.probes if p.kind in ("fluency", "drift")] == ["My own beginning", "My own text."]
    counts = Counter((p.kind, p.lang) for p in done.probes if p.kind not in ("efficacy", "ability"))
    assert set(counts.values()) == {1}
    assert [p for p in done.probes if p.kind == "neighbour_plus"]


def test_ability_is_sound_and_every_question_has_its_turn() -> None:
    items = ability_items()
    assert set(items) == set(LANGUAGES)
    assert sum(map(len, items["en"].values())) >= 60 and sum(map(len, items["fr"].values())) >= 40
    for topics in items.values():
        every = [item for some in topics.values() for item in some]
        assert all(len(item) == 5 and len(set(item[1:])) == 4 and all(map(str.strip, item)) for item in every)
        assert len({item[0] for item in every}) == len(every)
    case = build_cases("world_facts", "fact", 1)[0]
    cases = with_common_probes([case] * 45)
    questions = {lang: [p for c in cases for p in c.probes if p.kind == "ability" and p.lang == lang] for lang in items}
    for lang, probes in questions.items():
        assert {p.prompt for p in probes} == {item[0] for some in items[lang].values() for item in some}
        assert all(p.candidates[p.answer] == p.candidates[0] and p.old == p.answer for p in probes)
    assert with_common_probes([case] * 45) == cases


def test_a_probe_that_makes_no_sense_is_refused() -> None:
    pair = ("a", "b")
    for message, bad in (
        ("rival 2 is not one of 2", lambda: Probe("neighbour", "q", pair, 0, 0, rival=2)),
        ("rival 0 is the answer itself", lambda: Probe("neighbour", "q", pair, 0, 0, rival=0)),
        ("old answer -1 is not one of 2", lambda: Probe("efficacy", "q", pair, 0, -1)),
        ("empty prompt", lambda: Probe("fluency", " ")),
        ("empty prompt", lambda: Question("", pair, 0)),
        ("answer 3 is not one of 2", lambda: Question("q", pair, 3)),
        ("two different candidates", lambda: Question("q", ("a", "a"), 0)),
        ("unknown probe kind", lambda: Probe("abilities", "q", pair)),
    ):
        with pytest.raises(BadData, match=message):
            bad()
    assert Probe("efficacy", "q", pair, 0, 1).against == 1
    assert Probe("neighbour", "q", pair, 0, 0).against is None
    assert Probe("neighbour", "q", pair, 0, 0, rival=1).against == 1


def test_the_files_target_is_the_rival_of_its_neighbours(tmp_path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(
        '{"prompt": "{} comes from", "subject": "Brie", "target": "Spain", "old": "France",'
        ' "neighbours": [{"prompt": "Camembert comes from", "answer": "France"}, {"prompt": "Manchego is from", "answer": "Spain"}]}'
    )
    (case,) = build_cases(f"fact_file:{path}", "fact")
    near = [p for p in case.probes if p.kind == "neighbour"]
    assert [None if p.against is None else p.candidates[p.against] for p in near] == ["Spain", None]
    assert isinstance(case.request, EditRequest)
