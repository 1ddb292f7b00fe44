"""`languages` and `chat` as a whole, on a tiny model that knows a few facts: what is edited, evaluated and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.datasets import build_cases
from benchmarks.live import format_chat, format_languages, run_chat, run_languages
from benchmarks.live.chat import FORMS, summary
from editing.errors import BadModel, BadRequest
from editing.text import join
from tests.benchmarks.test_chat import TEMPLATE
from tests.benchmarks.tiny import save_tiny, tiny_model
from tests.once import made_once
from valley.compare import transfer_table

LIMIT = 4


def make_model(folder: Path) -> None:
    """A model trained on the true answers to the edited prompts and paraphrases of the first facts, in English."""
    cases = build_cases("world_facts:en-zh", "fact", LIMIT)
    evaluated = [p for case in cases for p in case.probes if p.kind in ("efficacy", "paraphrase") and p.old is not None]
    said = [join(p.prompt, p.candidates[p.old]) + "." for p in evaluated if p.old is not None]
    save_tiny(tiny_model(said, steps=90), folder / "model")


@pytest.fixture(scope="module")
def model() -> str:
    return str(made_once("knows-some-facts", make_model) / "model")


def test_each_language_is_edited_where_it_is_known_and_asked_in_the_other(model: str) -> None:
    done = run_languages(model, ("en", "zh"), ("ft_m", "ike"), {"lookup": "last"}, LIMIT, 1, 0, "cpu", "identity")
    assert done.built == {"en": LIMIT, "zh": LIMIT} and done.known["en"] == LIMIT
    table = transfer_table(done.rows)
    part = table[table["edit_lang"] == "en"]
    assert set(part["lang"]) == {"zh"} and set(part["method"]) == {"ft_m", "ike"}
    assert set(part["spelling"]) == {"all", "different"} and part["placebo"].notna().all()
    efficacy = done.efficacy.set_index(["method", "edit_lang"])
    edits = done.rows[(done.rows["probe"] == "efficacy") & (done.rows["edit_lang"] == "en")]
    for name in ("ft_m", "ike"):
        for column, some in (("efficacy", edits["method"] == name), ("placebo", edits["control_of"] == name)):
            assert some.sum() == efficacy.loc[(name, "en"), "n"] == LIMIT
            assert efficacy.loc[(name, "en"), column] == edits[some]["value"].mean()
    assert "facts known and edited: en 4 of 4" in format_languages(done)
    evaluated = done.rows[done.rows["edit_lang"] == "en"].groupby("probe")["lang"].agg(set)
    assert evaluated["efficacy"] == {"en"} and evaluated["cross_lingual"] == evaluated["neighbour"] == {"zh"}
    with pytest.raises(BadRequest, match="write two or more of en, fr, de, zh"):
        run_languages(model, ("en",), ("ike",), {}, LIMIT, 1, 0, "cpu", "")
    with pytest.raises(BadRequest, match="edited languages de: not all among en,zh"):
        run_languages(model, ("en", "zh"), ("ike",), {}, LIMIT, 1, 0, "cpu", "", ("de",))


def test_both_forms_are_edited_and_asked(model: str) -> None:
    done = run_chat(model, TEMPLATE, ("ft_m",), {"lookup": "last"}, "world_facts", LIMIT, 0, "cpu")
    assert (done.built, done.known) == (LIMIT, LIMIT)
    value = done.rows.set_index(["edit", "evaluated", "score"])["value"]
    assert {(edit, evaluated) for edit, evaluated, _ in value.index} == {(a, b) for a in FORMS for b in FORMS}
    assert value.drop(["survives efficacy", "survives paraphrase"], level="score").dropna().between(0, 1).all()
    survives = done.rows[done.rows["score"] == "survives efficacy"]
    assert list(zip(survives["edit"], survives["evaluated"], strict=True)) == [("plain", "chat"), ("chat", "plain")]
    assert "4 facts; 4 known in plain text" in format_chat(done)
    with pytest.raises(BadModel, match="no chat template"):
        run_chat(model, "auto", ("ft_m",), {}, "world_facts", LIMIT, 0, "cpu")


def test_intervals_of_chat_count_the_cases_that_have_the_score() -> None:
    """Six equal cases had an interval of no width, and every score the cases of all kinds."""
    kinds = ["efficacy", "paraphrase", "cross_lingual", "neighbour", "same_subject"]
    edits, placebos = (pd.DataFrame({kind: np.full(6, value) for kind in kinds}) for value in (1.0, 0.0))
    edits["same_subject"] = np.nan
    edits["neighbour"] = [1.0, 1.0, *[np.nan] * 4]
    lines = summary({"plain": (edits, placebos), "chat": (edits, placebos)}, "plain", 0)
    by_score = {line["score"]: line for line in lines if line["evaluated"] == "chat"}
    net, kept, survives = (by_score[name] for name in ("net efficacy", "specificity", "survives efficacy"))
    assert (net["value"], net["n"], net["high"]) == (1, 6, 1) and net["low"] == pytest.approx(0.54, abs=0.005)
    assert (kept["value"], kept["n"], kept["high"]) == (1, 2, 1) and kept["low"] == pytest.approx(0.16, abs=0.005)
    assert by_score["composite"]["n"] == 2
    assert (survives["value"], survives["n"]) == (1, 6) and np.isnan(survives["low"])
