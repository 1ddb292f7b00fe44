"""Edits of countries beside facts of the concepts that share their names."""

from __future__ import annotations

import pytest

from benchmarks.datasets import build_cases, for_model
from benchmarks.world import homonym_pairs, knowledge
from editing.errors import BadRequest


@pytest.fixture(scope="module")
def by_share():
    return {share: build_cases(f"homonym_edits:{share}", "fact") for share in ("0", "0.5", "1")}


def test_every_share_has_the_same_edits_and_the_same_facts_beside_them(by_share):
    def content(cases):
        return [
            (c.id, c.request.targets, [(p.kind, p.lang, p.relation, p.candidates[p.answer]) for p in c.probes])
            for c in cases
        ]

    assert content(by_share["0"]) == content(by_share["0.5"]) == content(by_share["1"])
    assert len({case.subject for case in by_share["0"]}) == len(by_share["0"])


def test_the_concept_is_called_as_the_country_from_its_share_on(by_share):
    def namesakes(cases):
        return sum(case.subject in {p.about for p in case.probes if p.kind == "same_subject"} for case in cases)

    pairs = len(homonym_pairs(knowledge().entities))
    assert [namesakes(by_share[share]) for share in ("0", "0.5", "1")] == [0, round(pairs / 2), pairs]


def test_each_rung_is_asked_in_the_names_of_its_own_world():
    assert for_model("homonym_edits:rung", "grown:gpt2-1x64@homonym0.5") == "homonym_edits:0.5"
    assert for_model("homonym_edits:rung", "grown:gpt2-1x64") == "homonym_edits:0"
    assert for_model("homonym_edits:0.5", "package:any") == "homonym_edits:0.5"
    with pytest.raises(BadRequest, match="no world of its own"):
        for_model("homonym_edits:rung", "package:any")


@pytest.mark.parametrize("argument", ["2", "-1", "many", "nan", "rung"])
def test_a_share_outside_0_to_1_is_refused(argument):
    with pytest.raises(BadRequest, match="share from 0 to 1"):
        build_cases(f"homonym_edits:{argument}", "fact")
