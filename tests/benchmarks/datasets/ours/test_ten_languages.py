"""Records in ten languages and six forms, read, shown and edited on a committed trained rung: the tokens that are
optimised and scored are those of prompt and answer as one text."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from benchmarks.cases import Case
from benchmarks.datasets import kinds_of, read_cases, show
from benchmarks.datasets.registry import ANY_FORM
from editing import ask, edit, load
from editing.text import prompt_answers, tokenise
from tests.benchmarks.datasets.test_show import FACTS, record
from tests.tiers import fast_are

FORMS = ("zsre", "easyedit", "fact_file", "multilingual", "ripple_edits", "table")
EACH = [(lang, FORMS[n % len(FORMS)]) for n, lang in enumerate(FACTS)]
RUNG = Path(__file__).resolve().parents[4] / "results/ladders/grown-quick/rungs/gpt2-2x128"


@pytest.fixture(scope="module")
def lm():
    return load(str(RUNG), device="cpu")


def file_of(form: str, lang: str, folder: Path) -> str:
    """The path of a file with the language's fact, and its options."""
    if form == "table":
        subject, prompt, target, old, _ = FACTS[lang]
        with (folder / "facts.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(
                [("lang", "subject", "prompt", "target", "old"), (lang, subject, prompt, target, old)]
            )
        return str(folder / "facts.csv")
    (folder / "facts.json").write_text(json.dumps([record(form, lang)], ensure_ascii=False), "utf-8")
    return str(folder / "facts.json") + f"#{lang}" * (form == "multilingual")


def case_of(form: str, lang: str, folder: Path) -> tuple[Case, str]:
    """The case that the file gives, and the text that `datasets show` says is edited."""
    path = file_of(form, lang, folder)
    assert kinds_of(path) == ("fact",)
    (case,) = read_cases(f"{ANY_FORM}:{path}", "fact").cases
    (shown,) = show(path)["cases"]
    (request,) = shown["requests"]
    return case, request["prompt"] + request["target"]


@pytest.mark.parametrize("form", FORMS)
def test_tokens_are_those_of_one_text(lm, form: str, tmp_path: Path) -> None:
    for lang in FACTS if form != "multilingual" else tuple(FACTS)[1:]:
        case, whole = case_of(form, lang, tmp_path)
        request, ids = case.request, tuple(lm.tokenizer(whole, add_special_tokens=False)["input_ids"])
        made = tokenise(lm, request.prompts[0], request.subject, request.lookup, request.targets[0])
        assert (*made.ids[len(lm.prefix_ids) :], made.target[-1]) == ids, (form, lang)
        answer = lm.tokenizer.decode(made.target)
        assert answer.strip() == FACTS[lang][2] and answer.startswith(" ") == FACTS[lang][4], (form, lang)
        for probe in case.probes:
            (scored,) = prompt_answers(lm, [probe.prompt], [probe.candidates])
            for text, tokens in zip(probe.candidates, scored.answers, strict=True):
                joined = probe.prompt + " " * FACTS[probe.lang][4] + text
                whole_ids = tuple(lm.tokenizer(joined, add_special_tokens=False)["input_ids"])
                assert (*scored.ids[len(lm.prefix_ids) :], *tokens) == whole_ids, (form, lang, probe.prompt)


@pytest.mark.parametrize(("lang", "form"), fast_are([EACH[0], EACH[-1]], EACH))
def test_a_fact_of_every_language_is_edited(lm, lang: str, form: str, tmp_path: Path) -> None:
    before = lm.weight_hash
    case, _ = case_of(form, lang, tmp_path)
    delta = edit(lm, case.request, method="ft_m", steps=60)
    question, answers = [case.probes[0].prompt], [[FACTS[lang][2], FACTS[lang][3]]]
    (plain,), (edited,) = ask(lm, question, answers), ask(lm, question, answers, delta)
    new = FACTS[lang][2]
    assert edited[new] > plain[new] + 3, (plain, edited)  # nats; most scripts are new to this rung
    assert lm.weight_hash == before
