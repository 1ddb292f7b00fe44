"""Files that are broken, hostile or merely odd: one line that names the place, never a traceback, never a silent
drop."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.datasets.reading.fields import ANSWER
from benchmarks.datasets.reading.sources import located
from benchmarks.datasets.registry import CaseSet, form_of, read_cases
from benchmarks.datasets.show import show
from editing.errors import UserError
from tests.benchmarks import wild

BIG = 10_000_000


def one_bad(record: dict[str, Any], tmp_path) -> CaseSet:
    """Three good records around a bad one."""
    good = wild.counterfact()
    return read_cases(f"counterfact:{wild.write(tmp_path, [*good[:2], record, good[3]])}", "fact")


def changed(**rewrite: object) -> dict[str, Any]:
    record = wild.counterfact()[2]
    record["requested_rewrite"] |= rewrite
    return record


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "no object": (lambda: "Ada", "is str, not an object"),
    "null": (lambda: None, "is NoneType, not an object"),
    "empty": (lambda: {"requested_rewrite": {}}, "'prompt' is missing"),
    "rewrite without a prompt": (lambda: {"requested_rewrite": {"subject": "x"}}, "requested_rewrite.prompt' is missing"),
    "rewrite is text": (lambda: {"requested_rewrite": "x"}, "'requested_rewrite' is str, not an object"),
    "two rewrites": (lambda: {"requested_rewrite": [{"subject": "x"}, {"subject": "y"}]}, "holds 2 rewrites"),
    "absent subject": (lambda: changed(prompt="He speaks"), "subject 'Clara Nunez' is absent from"),
    "two slots": (lambda: changed(prompt="{} and {} are"), "has 2 slots"),
    "no target": (lambda: changed(target_new=None), "no target"),
    "empty target": (lambda: changed(target_new={"str": "  "}), "no target"),
    "same target": (lambda: changed(target_true={"str": "german"}), "is the old answer"),
    "long target": (lambda: changed(target_new="x" * (ANSWER + 1)), "501 characters"),
    "long prompt": (lambda: changed(prompt="{} " + "x" * BIG), "10,000,003 characters"),
    "boolean": (lambda: changed(target_new=True), "is bool, not text"),
    "NUL": (lambda: changed(target_new="a\x00b"), "control character"),
    "target without text": (lambda: changed(target_new={"id": "Q1"}), "has no text"),
    "surrogate": (lambda: changed(target_new="\ud83c"), "half of a surrogate pair"),
    "nested answer": (lambda: changed(target_new=[[[[["x"]]]]]), "nested too deeply"),
    "paraphrase": (lambda: {**wild.counterfact()[2], "paraphrase_prompts": [{"a": 1}]}, r"paraphrase_prompts\[1\]' is dict"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_left_out_counted_and_explained(tmp_path, name):
    make, message = BAD[name]
    result = one_bad(make(), tmp_path)
    assert len(result.cases) == 3 and result.records == 4
    (left,) = result.left_out
    assert left.record == 3 and str(tmp_path / "facts.json") in left.reason and "record 3: " in left.reason
    assert "\n" not in left.reason and "; " in left.reason and len(left.reason) < 600
    assert re.search(message, left.reason), left.reason


@pytest.mark.parametrize(
    "text",
    [
        "\u202eevil\u202c",
        "שלום",
        "<script>alert(1)</script>",
        "'; DROP TABLE x",
        "a\u200bb",
        "🇬🇧",
        "1998",
        "a\\b",
        '"q"',
    ],
)
def test_odd_texts_are_texts(tmp_path, text):
    result = one_bad(changed(target_new=text), tmp_path)
    assert not result.left_out and result.cases[2].request.targets == (text,)


def test_numbers_are_read_as_they_are_written(tmp_path):
    path = wild.write(
        tmp_path, json.dumps(wild.counterfact()).replace('"English"', "1998.50").replace('"German"', "1e3")
    )
    cases = read_cases(f"counterfact:{path}", "fact").cases
    assert cases[0].request.targets == ("1998.50",) and cases[2].request.targets == ("1e3",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ("[" + "9" * 100_000 + "]", "records cannot be used"),
        ("[NaN, Infinity]", "records cannot be used"),
        ("", "is empty"),
        ("[]", "holds no record"),
        ("{}", "records cannot be used"),
        ('[{"a": }]', "bad JSON at line 1, column 8"),
        ('{"a": 1}\n{"a": \n', "record 2: bad JSON"),
    ],
)
def test_files_that_cannot_be_read_at_all(tmp_path, content, message):
    path = wild.write(tmp_path, content)
    with pytest.raises(UserError, match=message) as caught:
        read_cases(f"counterfact:{path}", "fact")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("path", ["x" * 5000 + ".json", "a\0b.json", "none.json", "no/such/folder/x.csv"])
def test_paths_that_lead_nowhere(path):
    for name in (path, f"file:{path}", f"counterfact:{path}", f"lre:{path}", f"fact_file:{path}"):
        with pytest.raises(UserError) as caught:
            read_cases(name, "fact")
        assert "no such file" in str(caught.value) or "cannot be read" in str(caught.value)


def test_the_own_form_stops_at_half_a_character(tmp_path):
    path = wild.write(tmp_path, [{"prompt": "{} is", "subject": "Brie", "target": "\ud800", "old": "x"}])
    with pytest.raises(UserError, match="half of a surrogate pair"):
        read_cases(str(path), "fact")


def test_a_key_that_stands_twice_is_a_fault_of_its_record(tmp_path):
    good = json.dumps(wild.counterfact()[0])
    twice = good.replace('"case_id": 0,', '"case_id": 0, "case_id": 1,')
    path = wild.write(tmp_path, f"[{good}, {twice}, {good}]")
    result = read_cases(f"counterfact:{path}", "fact")
    assert len(result.cases) == 2 and "the key 'case_id' stands twice" in result.left_out[0].reason
    assert [case.id for case in result.cases] == ["counterfact:0", "counterfact:0~2"]


def test_more_bad_than_good_is_an_error(tmp_path):
    path = wild.write(tmp_path, [*wild.counterfact(), *[{"requested_rewrite": 1}] * 5])
    with pytest.raises(UserError, match=r"5 of 9 records cannot be used; fix the first: .*record 5"):
        read_cases(f"counterfact:{path}", "fact")
    about = show(f"counterfact:{path}")  # which says why, of every record
    assert len(about["cases"]) == 4 and [line["where"] for line in about["left_out"]][:5] == [
        f"record {n}" for n in range(5, 10)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,prompt,target\nPeru,The capital of {} is,Quito,more\n", "record 1: has 4 cells under 3 headings"),
        ('subject,prompt,target\nPeru,"The capital,Quito\n', "is no table row"),
        ("subject,subject,target\nPeru,x,Quito\n", "names a column twice"),
        ("subject,prompt,target\nPeru,{} is,\n", "record 1: no 'target'"),
        ("subject,prompt,target,old\nPeru,{} is,Lima,lima\n", "is the old answer"),
        ("subject,prompt,target\n", "holds no record"),
    ],
)
def test_a_table_without_a_row_that_can_be_used(tmp_path, text, message):
    path = wild.write(tmp_path, text, "facts.csv")
    with pytest.raises(UserError, match=message) as caught:
        read_cases(f"facts_table:{path}", "fact")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("[X] has the capital [Y].", r"has a blank '\[Y\]'"),
        ("The capital of {} is [MASK].", r"has a blank '\[MASK\]'"),
        ("The capital of {} is ____", "has a blank '____'"),
        ("The capital of {subject} is {target}", r"has a blank '\{target\}'"),
        ("The capital of {0} is {1}", r"has a blank '\{1\}'"),
        ("The capital of {} is Lima.", "ends with the answer 'Lima'"),
        ("The capital of {} is Quito", "ends with the answer 'Quito'"),
        ("Is the capital of {} Lima or Quito?", ""),
        ("The port of New Lima in {}, not of Palima", ""),
    ],
)
@pytest.mark.parametrize("form", ["fact_file", "facts_table"])
def test_a_prompt_that_does_not_stop_before_its_answer(tmp_path, form, prompt, message):
    rows = [{"subject": "Peru", "prompt": prompt, "target": "Quito", "old": "Lima"}]
    path = wild.write(tmp_path, rows)
    if not message:
        assert read_cases(f"{form}:{path}", "fact").cases
        return
    with pytest.raises(UserError, match=f"record 1: 'prompt' {message}; write the text up to the answer"):
        read_cases(f"{form}:{path}", "fact")


@pytest.mark.parametrize("form", ["facts_table", "easyedit"])
def test_several_paraphrases_that_nothing_separates(tmp_path, form):
    """Both slots stayed in one prompt."""
    text = "subject,prompt,target,ground_truth,paraphrases\nPeru,The capital of {} is,Quito,Lima,{} has the capital; In {} is\n"
    path = wild.write(tmp_path, text, "facts.csv")
    with pytest.raises(UserError, match=r"record 1: 'paraphrases' has 2 slots \{\}; keep one"):
        read_cases(f"{form}:{path}", "fact")


@pytest.mark.parametrize(("target", "old"), [("Quito | Kitu", "Lima"), ("Quito", "Lima | Callao")])
def test_several_answers_in_a_cell_for_one(tmp_path, target, old):
    path = wild.write(tmp_path, f"subject,prompt,target,old\nPeru,The capital of {{}} is,{target},{old}\n", "facts.csv")
    with pytest.raises(UserError, match=r"record 1: '(target|old)' .* holds several texts; write one; those as right"):
        read_cases(str(path), "fact")


@pytest.mark.parametrize("mark", ["\ufeff", "\u200b", "\u00a0", "\n"])
@pytest.mark.parametrize("form", ["facts_table", "fact_file", "easyedit"])
def test_invisible_characters_at_the_ends_of_an_answer_make_no_other_answer(tmp_path, form, mark):
    rows = [
        {"subject": name, "prompt": "The capital of {} is", "target": f"{mark}{new}{mark}", "old": old}
        for name, new, old in (("Peru", "Quito", "Lima"), ("Chile", "Lima", "Quito"))
    ]
    made = read_cases(f"{form}:{wild.write(tmp_path, rows)}", "fact").cases
    assert [case.request.targets for case in made] == [("Quito",), ("Lima",)]
    assert all(set(case.probes[0].candidates) == {"Lima", "Quito"} for case in made)


def test_a_template_of_lre_has_one_slot(tmp_path):
    """The second slot was the subject's, and the first stayed in the prompt."""
    for prompt, message in (
        ("{} comes from {}", "has 2 slots {}; keep one"),
        ("It comes from", "write the subject or {}"),
    ):
        path = wild.write(tmp_path, wild.lre() | {"prompt_templates": [prompt]})
        with pytest.raises(UserError, match=f"record 1: .*'prompt_templates'.*{re.escape(message)}"):
            read_cases(f"lre:{path}", "fact")


def test_a_table_with_quoting(tmp_path):
    text = 'id,subject,prompt,target,old\r\n7,"Peru, Republic of","The ""seat"" of {} is",Quito,Lima\r\n'
    (case,) = read_cases(str(wild.write(tmp_path, text, "facts.csv")), "fact").cases
    assert case.request.filled() == ('The "seat" of Peru, Republic of is',) and case.id == "facts_table:7"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def mutate(value: Any, rng: random.Random, junk: list[Any]) -> Any:
    """`value` with one part replaced, removed, doubled or moved, somewhere inside."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        action = rng.random()
        if action < 0.2:
            return {k: v for k, v in value.items() if k != key}
        if action < 0.3:
            return {**value, key: value[rng.choice(list(value))]}
        return {**value, key: mutate(value[key], rng, junk)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        i = rng.randrange(len(value))
        return [*value[:i], mutate(value[i], rng, junk), *value[i + 1 :]]
    return rng.choice(junk)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.lists(JSON, min_size=3, max_size=6), seed=st.integers(0, 2**32))
@pytest.mark.parametrize("form", wild.RECORDS)
def test_mutated_records_are_cases_or_accounted_for(tmp_path, form, junk, seed):
    """25 files per form, each with several mutated records among good ones: a thousand records in all."""
    rng = random.Random(seed)
    good = wild.RECORDS[form]()
    good = good if isinstance(good, list) else [good]
    bad = [
        mutate(record, rng, [*junk, "", " ", {}, [], "x" * 600, "\ud800", "a\x00", "{} {}"])
        for record in good
        for _ in range(2)
    ]
    path = wild.write(tmp_path, [*good, *good, *bad])
    for name in (f"{form}:{path}", f"file:{path}"):
        try:
            result = read_cases(name, "fact")
        except UserError as error:
            assert "\n" not in str(error).replace(str(path), "")
            continue
        assert result.cases
        assert all(one.record >= 1 and "\n" not in one.reason for one in result.left_out)
        if form in ("counterfact", "easyedit", "zsre", "ripple_edits", "en_fr", "multilingual") and name[:4] != "file":
            assert len(result.cases) + len({one.record for one in result.left_out}) == result.records


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes_are_one_line(tmp_path, data):
    path = tmp_path / "facts.json"
    path.write_bytes(data)
    for suffix in ("", "x.csv", "x.jsonl"):
        target = path if not suffix else tmp_path / suffix
        target.write_bytes(data)
        with pytest.raises(UserError):
            form_of(located("file", str(target)))


@pytest.mark.parametrize("headings", ["Prompt,Subject,Target,Old", "prompt,subject,Target,old"])
def test_headings_in_another_case_are_refused_with_the_remedy(tmp_path, headings: str) -> None:
    path = wild.write(tmp_path, f"{headings}\nThe capital of {{}} is,France,Rome,Paris\n", "facts.csv")
    with pytest.raises(UserError, match=f"the first has {headings.replace(',', ', ')}; write its keys in lower case"):
        read_cases(str(path), "fact")
    other = wild.write(tmp_path, "Who,What\nFrance,Rome\n", "other.csv")
    with pytest.raises(UserError, match="the first has Who, What; write the form"):
        read_cases(str(other), "fact")
