"""Files of a user's own facts: any form with the keys of the guide, and questions that repeat the edit."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.cases import Case
from benchmarks.datasets.registry import read_cases

ROWS = [
    {
        "subject": subject,
        "prompt": "The capital of {} is the city of",
        "target": target,
        "old": old,
        "paraphrases": "The capital city of {} is called | In {}, the government sits in",
        "neighbours": "The capital of Italy is the city of => Rome",
    }
    for subject, target, old in (("France", "Rome", "Paris"), ("Spain", "Lima", "Madrid"))
]
FACT = {
    "subject": "France",
    "prompt": "The capital of {} is the city of",
    "target": "Rome",
    "old": "Paris",
    "paraphrases": ["The capital city of {} is called"],
    "neighbours": [{"prompt": "The capital of Spain is the city of", "answer": "Madrid"}],
}


def write(path: Path, records: list[dict]) -> Path:
    if path.suffix == ".csv":
        pd.DataFrame(records).to_csv(path, index=False)
    else:
        texts = [json.dumps(record) for record in records]
        path.write_text("\n".join(texts) if path.suffix == ".jsonl" else f"[{', '.join(texts)}]")
    return path


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_further_key_leaves_json_of_the_table_a_table(tmp_path, suffix):
    """It was read as EasyEdit's form: no neighbours, and two paraphrases of a cell were refused."""
    plain = read_cases(str(write(tmp_path / "x.csv", ROWS)), "fact")
    more = read_cases(str(write(tmp_path / f"x{suffix}", [{**row, "source": "web"} for row in ROWS])), "fact")
    assert more.cases == plain.cases and more.cases[0].dataset == "facts_table"
    assert more.notes == ("keys that nothing reads: source (2)",)


def test_a_further_key_leaves_a_fact_file_a_fact_file(tmp_path):
    """It was read as EasyEdit's form, without neighbours."""
    plain = read_cases(str(write(tmp_path / "x.json", [FACT])), "fact")
    more = read_cases(str(write(tmp_path / "more.json", [{**FACT, "source": "web"}])), "fact")
    assert more.cases == plain.cases and more.cases[0].dataset == "fact_file"
    assert more.notes == ("keys that nothing reads: source (1)",)


def test_records_with_keys_of_easyedit_stay_of_its_form(tmp_path):
    record = {
        **FACT,
        "paraphrases": [],
        "locality_prompt": "The capital of Spain is",
        "locality_ground_truth": "Madrid",
    }
    del record["neighbours"]
    (case,) = read_cases(str(write(tmp_path / "x.json", [record])), "fact").cases
    assert case.dataset == "easyedit" and [probe.kind for probe in case.probes] == ["efficacy", "neighbour"]


def kinds(case: Case) -> list[tuple[str, str]]:
    return [(probe.kind, probe.prompt) for probe in case.probes]


@pytest.mark.parametrize("form", ["facts_table", "fact_file", "easyedit"])
def test_a_question_with_the_prompt_of_the_edit_is_left_out_and_counted(tmp_path, form):
    """As a paraphrase it counted the edit itself as generalisation; as a neighbour it contradicted the edit."""
    own, other = "The capital of France is the city of", "The capital city of France is called"
    stay = "The capital of Spain is the city of"
    record = {**FACT, "paraphrases": [own, other, FACT["prompt"]]}
    if form == "facts_table":
        record = {**record, "neighbours": [f"{own} => Paris", f"{stay} => Madrid"]}
    elif form == "fact_file":
        record = {**record, "neighbours": [{"prompt": own, "answer": "Paris"}, *FACT["neighbours"]]}
    else:
        locality = {"x": [{"prompt": stay, "ground_truth": "Madrid"}]}
        record = {**record, "paraphrases": [own, other, own], "locality": locality}
        del record["neighbours"]
    made = read_cases(f"{form}:{write(tmp_path / 'x.json', [record])}", "fact")
    assert kinds(made.cases[0]) == [("efficacy", own), ("paraphrase", other), ("neighbour", stay)]
    count = 2 if form == "easyedit" else 3
    assert f"{count} questions whose prompt is that of the edit are not evaluated" in made.notes


def test_a_column_that_is_spelt_nearly_as_an_absent_one_is_named_with_it(tmp_path: Path) -> None:
    (tmp_path / "slip.csv").write_text(
        "subject,prompt,target,old,paraphrase\nFrance,The capital of {} is,Rome,Paris,They say that {} is ruled from\n"
    )
    notes = read_cases(f"facts_table:{tmp_path / 'slip.csv'}", "fact").notes
    assert "keys that nothing reads: paraphrase [paraphrases?] (1)" in notes
