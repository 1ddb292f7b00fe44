"""`datasets show`: what will be evaluated, for ten languages and every form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.commands import cli
from benchmarks.datasets import check_file, show

# language -> subject, prompt with its place, target, old answer, whether a blank belongs before the answer
FACTS = {
    "en": ("France", "The capital of {} is", "Rome", "Paris", True),
    "fr": ("Italie", "La capitale de l'{} est", "Paris", "Rome", True),
    "de": ("Frankreich", "Die Hauptstadt von {} ist", "Rom", "Paris", True),
    "es": ("Francia", "La capital de {} es", "Roma", "París", True),
    "zh": ("法国", "{}的首都是", "罗马", "巴黎", False),
    "ja": ("フランス", "{}の首都は", "ローマ", "パリ", False),
    "th": ("ฝรั่งเศส", "เมืองหลวงของ{}คือ", "โรม", "ปารีส", False),
    "ar": ("فرنسا", "عاصمة {} هي", "روما", "باريس", True),
    "ru": ("Франция", "{} имеет столицу", "Рим", "Париж", True),
    "tr": ("Fransa", "{}'nın başkenti", "Roma", "Paris", True),
}
NAMES = {"en": "English", "fr": "français", "de": "deu", "es": "es-MX", "zh": "zh-cn", "ja": "Japanese", "th": "th"}


def record(form: str, lang: str) -> dict:
    subject, prompt, target, old, _ = FACTS[lang]
    said, name = prompt.replace("{}", subject), NAMES.get(lang, lang)
    return {
        "zsre": {"subject": subject, "src": said, "answers": [old], "alt": target, "rephrase": said, "lang": name},
        "easyedit": {"subject": subject, "prompt": said, "target_new": target, "ground_truth": old, "language": name},
        "fact_file": {"subject": subject, "prompt": prompt, "target": target, "old": old, "lang": name},
        "multilingual": {
            "en": {"subject": "Spain", "src": "The capital of Spain is", "answers": ["Madrid"], "alt": "Oslo"},
            name: {"subject": subject, "src": said, "answers": [old], "alt": target},
        },
        "ripple_edits": {
            "edit": {
                "prompt": f"{said} {target}",
                "subject": subject,
                "target": target,
                "original_fact": {"prompt": f"{said} {old}", "target": old},
            },
            "Relation_Specificity": [{"test_queries": [{"prompt": said, "answers": [{"value": old}]}]}],
            "lang": name,
        },
    }[form]


@pytest.mark.parametrize("lang", FACTS)
@pytest.mark.parametrize("form", ["zsre", "easyedit", "fact_file", "multilingual", "ripple_edits"])
def test_borders_and_languages(form: str, lang: str, tmp_path: Path) -> None:
    if form == "multilingual" and lang == "en":
        return
    path = tmp_path / "facts.json"
    path.write_text(json.dumps([record(form, lang)], ensure_ascii=False), "utf-8")
    about = show(f"{path}#{lang}" if form == "multilingual" else str(path))
    subject, prompt, target, old, blank = FACTS[lang]
    (case,) = about["cases"]
    (request,) = case["requests"]
    begin, end = request["subject_span"]
    assert about["form"] == form and case["lang"] == lang
    assert request["prompt"][begin:end] == subject == case["subject"]
    assert request["prompt"] == prompt.replace("{}", subject) and request["target"] == " " * blank + target
    first = case["probes"][0]
    assert (first["kind"], first["lang"], first["prompt"]) == ("efficacy", lang, request["prompt"])
    assert first["answer"] == request["target"] and first["old"] == " " * blank + old
    assert {first["answer"], first["old"]} <= set(first["candidates"])


def test_the_command_marks_the_subject_and_prints_json(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps([record("fact_file", "zh"), {"prompt": "{}", "subject": "x", "target": ""}]), "utf-8")
    text = CliRunner().invoke(cli, ["datasets", "show", str(path)]).output
    assert "⟦法国⟧的首都是 -> '罗马'" in text and "record 2" in text
    about = json.loads(CliRunner().invoke(cli, ["datasets", "show", str(path), "--json"]).output)
    assert set(about) == {"form", "cases", "left_out"} and set(about["left_out"][0]) == {"where", "why"}
    assert set(about["cases"][0]) == {"id", "lang", "subject", "requests", "probes"}


def test_an_unknown_language_costs_its_record_only(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    rows = [record("easyedit", "en"), record("easyedit", "de"), record("easyedit", "fr") | {"language": "klingonese"}]
    path.write_text(json.dumps(rows), "utf-8")
    about = show(str(path))
    assert len(about["cases"]) == 2 and "unknown language 'klingonese'" in about["left_out"][0]["why"]


def test_every_kind_of_our_own_sets_is_shown() -> None:
    case = show("concept_suite", "")["cases"][0]
    assert case["requests"] and case["probes"]


def test_check_says_how_an_open_language_and_a_repeated_subject_are_read(tmp_path: Path) -> None:
    record = {"subject": "Bern", "prompt": "Bern is Bern in", "target_new": "Peru", "ground_truth": "Switzerland"}
    other = record | {"subject": "Oslo", "prompt": "Oslo lies in", "target_new": "Chad", "ground_truth": "Norway"}
    file = tmp_path / "two.json"
    file.write_text(json.dumps([record, other]))
    lines = check_file(str(file), "easyedit")["account"]
    assert [line for line in lines if "name no language" in line and "en (2)" in line]
    assert [line for line in lines if "1 prompts name their subject more than once" in line]


def test_a_form_may_stand_before_the_path_as_in_bench() -> None:
    table = Path(__file__).resolve().parents[3] / "docs" / "facts.csv"
    counts = check_file(str(table))
    assert counts["form"] == "facts_table" and counts["cases"] == 5 and counts["probes"]["paraphrase en"] == 5
    for before in ("facts_table", "file"):
        assert check_file(f"{before}:{table}") == counts
