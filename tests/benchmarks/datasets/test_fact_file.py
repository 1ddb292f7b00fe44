"""A user's fact file: what it may hold, and that every fault is one line naming file, record, key and mend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.cases import Case
from benchmarks.datasets.registry import build_cases, read_cases
from editing.errors import BadData

BRIE = {"prompt": "{} comes from", "subject": "Brie", "target": "Spain"}
FULL = {
    **BRIE,
    "old": "France",
    "paraphrases": ["The home of Brie is", "People first made {} in"],
    "neighbours": [{"prompt": "Camembert comes from", "answer": "France"}],
    "same_subject": [{"prompt": "Brie is a kind of", "answer": "cheese"}],
    "cross_lingual": [{"prompt": "Le pays du Brie est l'", "target": "Espagne", "old": "Italie"}],
    "lang": "en",
}


def read_facts(path: Path) -> list[Case]:
    return build_cases(f"fact_file:{path}", "fact")


def write(folder: Path, content: object, name: str = "facts.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_full_record_makes_every_probe(tmp_path):
    (case,) = build_cases(f"fact_file:{write(tmp_path, [FULL])}", "fact")
    assert case.request.prompts == ("{} comes from",) and case.request.targets == ("Spain",)
    assert [p.kind for p in case.probes] == [
        "efficacy",
        "paraphrase",
        "paraphrase",
        "cross_lingual",
        "neighbour",
        "same_subject",
    ]
    efficacy, paraphrase, _, french, neighbour, same = case.probes
    assert efficacy.prompt == "Brie comes from" and efficacy.prior == "It comes from"
    assert efficacy.candidates[efficacy.answer] == "Spain" and efficacy.candidates[efficacy.old or 0] == "France"
    assert paraphrase.prompt == "The home of Brie is" and paraphrase.prior == "The home of it is"
    assert french.lang == "fr" and french.candidates[french.answer] == "Espagne" and not french.prior
    assert neighbour.candidates[neighbour.answer] == "France" and "Spain" in neighbour.candidates
    assert same.candidates[same.answer] == "cheese" and len(same.candidates) == 20


def test_json_jsonl_and_a_single_object_are_alike(tmp_path):
    one = read_facts(write(tmp_path, BRIE, "one.json"))
    assert one == read_facts(write(tmp_path, [BRIE], "list.json"))
    assert one == read_facts(write(tmp_path, json.dumps(BRIE) + "\n\n", "lines.jsonl"))
    two = read_facts(write(tmp_path, json.dumps(BRIE) + "\n" + json.dumps(FULL) + "\n", "two.jsonl"))
    assert [case.id for case in two] == ["fact:1:Brie", "fact:2:Brie"]


def test_a_byte_order_mark_is_harmless(tmp_path):
    path = tmp_path / "bom.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([BRIE]).encode())
    assert len(read_facts(path)) == 1


def test_a_literal_subject_becomes_the_slot(tmp_path):
    (case,) = read_facts(write(tmp_path, [{**BRIE, "prompt": "Everyone knows that Brie comes from"}]))
    assert case.request.prompts == ("Everyone knows that {} comes from",)
    assert case.probes[0].prompt == "Everyone knows that Brie comes from"


def test_own_candidates_are_kept_and_completed(tmp_path):
    record = {**BRIE, "old": "France", "candidates": ["Italy", "Malta"]}
    (case,) = read_facts(write(tmp_path, [record]))
    assert set(case.probes[0].candidates) == {"Italy", "Malta", "Spain", "France"}


def test_spellings_of_one_answer_are_one_candidate(tmp_path):
    record = {**BRIE, "old": "France", "candidates": ["spain", "FRANCE", "Italy", "Côte d'Ivoire", "CÔTE  D'IVOIRE"]}
    (case,) = read_facts(write(tmp_path, [record]))
    assert set(case.probes[0].candidates) == {"Spain", "France", "Italy", "Côte d'Ivoire"}
    crossed = {"prompt": "Le pays du Brie est", "target": "Espagne", "old": "espagne"}
    with pytest.raises(BadData, match="record 1: cross_lingual is answered 'Espagne' before and after; leave"):
        read_facts(write(tmp_path, [{**record, "cross_lingual": [crossed]}]))


def test_unknown_answers_share_the_files_answers(tmp_path):
    records = [{"prompt": f"{{}} number {i} is", "subject": "Zog", "target": f"zig{i}"} for i in range(3)]
    cases = read_facts(write(tmp_path, records))
    assert all(set(case.probes[0].candidates) == {"zig0", "zig1", "zig2"} for case in cases)


BAD = {
    "bad json": ('[{"prompt": ', "bad JSON at line 1"),
    "bad jsonl": (json.dumps(BRIE) + '\n{"prompt": \n', "record 2: bad JSON"),
    "empty": ("  \n", "is empty"),
    "no record": ([], "holds no record"),
    "not an object": (["Brie"], "record 1: is str, not an object"),
    "number": ("17", "record 1: is a number"),
    "missing key": ([{"prompt": "{} is", "subject": "Brie"}], "record 1: 'target' is missing; write it out"),
    "empty target": ([{**BRIE, "target": " "}], "record 1: 'target' is missing"),
    "empty subject": ([{**BRIE, "subject": ""}], "record 1: 'subject' is missing"),
    "non-string": ([{**BRIE, "target": True}], "'target' is bool, not text"),
    "absent subject": ([{**BRIE, "prompt": "It comes from"}], "subject 'Brie' is absent from 'prompt'"),
    "absent in paraphrase": ([{**BRIE, "paraphrases": ["It comes from"]}], "absent from 'paraphrases'"),
    "two slots": ([{**BRIE, "prompt": "{} and {} are"}], "'prompt' has 2 slots"),
    "no change": ([{**BRIE, "old": "Spain"}], "'target' equals 'old'"),
    "bad paraphrase": ([{**BRIE, "paraphrases": [{"a": 3}]}], r"'paraphrases\[1\]' is dict"),
    "bad neighbour": ([{**BRIE, "neighbours": ["x"]}], r"neighbours\[1\]' is str, not an object"),
    "control": ([{**BRIE, "target": "a\u0007b"}], "control character"),
    "no rival": ([{"prompt": "{} is", "subject": "Zog", "target": "zig"}], "add 'old' or 'candidates'"),
}


def test_missing_parts_and_unknown_keys_cost_no_record(tmp_path):
    odd = {**FULL, "old": None, "neighbours": [{"prompt": "x"}, {"answer": "y"}], "same_subject": [], "tagret": "x"}
    case_set = read_cases(
        f"fact_file:{write(tmp_path, [odd, {**BRIE, 'target': 1998}, {**BRIE, 'target': None}])}", "fact"
    )
    assert [case.request.targets for case in case_set.cases] == [("Spain",), ("1998",)]
    assert [one.record for one in case_set.left_out] == [3] and case_set.records == 3
    assert case_set.notes == (
        "2 questions without their text or an answer are not evaluated",
        "missing values left out: old (1), same_subject (1), target (1)",
        "keys that nothing reads: tagret [target?] (1), answer (1)",
    )


@pytest.mark.parametrize("name", BAD)
def test_faults_name_file_record_and_fix(tmp_path, name):
    content, message = BAD[name]
    path = write(tmp_path, content, "facts.jsonl" if name == "bad jsonl" else "facts.json")
    with pytest.raises(BadData, match=message) as caught:
        read_facts(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and "; " in text


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x00[", "is neither JSON|bad JSON"),
        (b'[{"prompt": "\xe9"}]', "line 1 is not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_bytes_that_are_no_json_text(tmp_path, raw, message):
    path = tmp_path / "facts.json"
    path.write_bytes(raw)
    with pytest.raises(BadData, match=message):
        read_facts(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(BadData, match="no such file"):
        read_facts(tmp_path / "none.json")
    with pytest.raises(BadData, match="is a folder"):
        read_facts(tmp_path)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["prompt", "subject", "target", "old", "neighbours", "lang"]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_case_or_one_line(tmp_path, data):
    path = write(tmp_path, data)
    try:
        cases = read_facts(path)
    except BadData as error:
        assert "\n" not in str(error).replace(str(path), "")
    else:
        assert cases and all(case.probes for case in cases)
