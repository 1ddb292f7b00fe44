"""Files of every kind: packed, Parquet, columns, other encodings and delimiters, several splits; and what is missing."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.cases import Case
from benchmarks.datasets import read_cases
from benchmarks.datasets.reading.sources import located
from editing.errors import UserError
from tests.benchmarks import wild

FACTS = [
    {"prompt": f"The mother tongue of {name} is", "subject": name, "target_new": new, "ground_truth": old}
    for name, old, new in wild.PEOPLE
]
TEXT = json.dumps(FACTS, ensure_ascii=False)


def cases(path: object) -> tuple[Case, ...]:
    return read_cases(str(path), "fact").cases


def test_packed_files_are_the_files_they_hold(tmp_path):
    plain = cases(wild.write(tmp_path, FACTS))
    for suffix, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        path = tmp_path / f"x.json.{suffix}"
        path.write_bytes(pack(TEXT.encode()))
        assert cases(path) == plain
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("facts.json", TEXT)
    assert cases(tmp_path / "x.zip") == plain
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
        archive.writestr("more.json", json.dumps(FACTS[:3]))
    with pytest.raises(UserError, match=r"archive of 2 files \(facts.json, more.json\); choose one: .*#split=facts"):
        cases(tmp_path / "x.zip")
    assert len(cases(f"{tmp_path / 'x.zip'}#split=more")) == 3


def test_a_file_of_an_archive_is_chosen_by_any_name_that_is_its_own(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, count in (("a/test.json", 4), ("b/test.json", 3), ("b/dev.json", 2)):
            archive.writestr(name, json.dumps(FACTS[:count]))
    assert [len(cases(f"{path}#split={name}")) for name in ("a/test.json", "b/test.json", "dev.json", "dev")] == [
        4,
        3,
        2,
        2,
    ]
    for name in ("", "#split=test", "#split=test.json"):
        with pytest.raises(UserError, match=r"archive of 3 files .*; choose one: .*#split=a/test.json$"):
            cases(f"{path}{name}")


def test_an_archive_without_files_says_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("folder/", "")
    with pytest.raises(UserError, match="is an archive without files; name one"):
        cases(tmp_path / "x.zip")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_forms(tmp_path, encoding):
    path = tmp_path / "facts.json"
    path.write_bytes(TEXT.encode(encoding))
    assert cases(path) == cases(wild.write(tmp_path, FACTS))


def test_another_encoding_has_to_be_stated(tmp_path):
    path = tmp_path / "facts.json"
    path.write_bytes(TEXT.replace("Madrid", "Málaga").replace("English", "Français").encode("cp1252"))
    with pytest.raises(UserError, match="line 1 is not UTF-8"):
        cases(path)
    assert cases(f"{path}#encoding=cp1252")[0].request.targets == ("Français",)


def test_of_encodings_that_a_few_letters_do_not_tell_apart_the_usual_one_is_proposed(tmp_path):
    path = tmp_path / "facts.csv"
    path.write_bytes("prompt,subject,target\nThe capital of {} is,España,París\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"perhaps cp1252.* .write #encoding=cp1252 behind"):
        cases(path)


@pytest.mark.parametrize("text", ["null", "3", '["a"]'])
def test_a_file_without_any_object_says_so(tmp_path, text):
    (tmp_path / "facts.json").write_text(text)
    with pytest.raises(UserError, match=r"facts.json: holds no object; write a list of records"):
        cases(tmp_path / "facts.json")


@pytest.mark.parametrize("orient", ["records", "columns", "index", "split", "table"])
def test_every_orientation_of_pandas(tmp_path, orient):
    path = tmp_path / "facts.json"
    pd.DataFrame(FACTS).to_json(path, orient=orient)
    assert cases(path) == cases(wild.write(tmp_path, FACTS))


def test_parquet_and_columns_of_lists(tmp_path):
    plain = cases(wild.write(tmp_path, FACTS))
    pd.DataFrame(FACTS).to_parquet(tmp_path / "facts.parquet")
    assert cases(tmp_path / "facts.parquet") == plain
    columns = {key: [fact[key] for fact in FACTS] for key in FACTS[0]}
    assert cases(wild.write(tmp_path, columns)) == plain
    nested = cases(wild.write(tmp_path, wild.counterfact(), "nested.json"))
    pd.DataFrame(wild.counterfact()).to_parquet(tmp_path / "nested.parquet")
    assert cases(tmp_path / "nested.parquet") == nested


def test_parquet_columns_of_bytes_are_texts(tmp_path):
    """Writers that declare no string type (old Spark, Arrow's binary) store the bytes of the text."""
    plain = cases(wild.write(tmp_path, FACTS))
    columns = {key: [str(fact[key]).encode() for fact in FACTS] for key in FACTS[0]}
    pq.write_table(pa.table(columns), tmp_path / "bytes.parquet")
    assert cases(tmp_path / "bytes.parquet") == plain
    columns["target_new"][1] = "Málaga".encode("cp1252")
    pq.write_table(pa.table(columns), tmp_path / "bytes.parquet")
    with pytest.raises(UserError, match=r"record 2: column 'target_new' holds bytes .*; save"):
        cases(tmp_path / "bytes.parquet")


def test_rows_keep_their_order_and_number_where_a_column_lacks_some(tmp_path):
    """`to_json` writes column by column: the first column alone does not have the label of every row."""
    facts = [dict(fact, case_id=f"c{i}") for i, fact in enumerate(FACTS)]
    facts[0]["case_id"] = None
    facts[2]["prompt"] = "nothing"
    for order in ([0, 1, 2, 3], [3, 0, 2, 1]):
        table = pd.DataFrame(facts)[["case_id", *FACTS[0]]].iloc[order]
        table.to_json(tmp_path / "columns.json")
        table.to_json(tmp_path / "records.json", orient="records")
        made = [read_cases(str(tmp_path / f"{name}.json"), "fact") for name in ("columns", "records")]
        assert made[0].cases == made[1].cases and made[0].notes == made[1].notes
        assert [one.record for one in made[0].left_out] == [order.index(2) + 1]
    facts[0]["ground_truth"] = None
    facts[1] |= dict.fromkeys(("prompt", "subject", "target_new"))
    pd.DataFrame(facts)[["case_id", *FACTS[0]]].to_json(tmp_path / "columns.json")  # no column has every label
    made = read_cases(str(tmp_path / "columns.json"), "fact", mostly_bad=True)
    assert [one.record for one in made.left_out] == [2, 3]


def test_columns_of_objects_are_columns(tmp_path):
    """As `to_dict` of a Hugging Face data set gives them."""
    facts = wild.knowedit()
    columns = {key: [fact[key] for fact in facts] for key in facts[0]}
    assert any(isinstance(item, dict) for column in columns.values() for item in column)
    assert cases(wild.write(tmp_path, columns, "columns.json")) == cases(wild.write(tmp_path, facts))


YEARS = pd.DataFrame(
    {
        "id": [1, 2, 3],
        "subject": ["Acme", "Bolt", "Cord"],
        "prompt": "{} was founded in",
        "target": [1998, 2001, 1990],
        "old": [1990, None, 1998],  # one is missing: pandas holds these integers as floats
    }
)


@pytest.mark.parametrize("index", [True, False])
def test_a_table_of_facts_may_have_more_columns(tmp_path, index):
    """It was read as EasyEdit's form, two paraphrases as one prompt and no neighbours."""
    table = YEARS.assign(
        paraphrases="The founding year of {} is | {} began in", neighbours="Dome was founded in => 1950"
    )
    table.to_csv(tmp_path / "plain.csv", index=False)
    (table if index else table.assign(source="web")).to_csv(tmp_path / "x.csv", index=index)
    assert cases(tmp_path / "x.csv") == cases(tmp_path / "plain.csv")
    notes = read_cases(str(tmp_path / "x.csv"), "fact").notes
    assert f"keys that nothing reads: {'' if index else 'source'} (3)" in notes


def test_several_paraphrases_in_a_cell_of_any_form(tmp_path):
    table = pd.DataFrame(FACTS).assign(
        rephrase_prompt=[f"{fact['subject']} speaks | The tongue of {fact['subject']} is" for fact in FACTS]
    )
    table.to_csv(tmp_path / "x.csv", index=False)
    said = [probe.prompt for probe in cases(tmp_path / "x.csv")[0].probes if probe.kind == "paraphrase"]
    assert said == [f"{FACTS[0]['subject']} speaks", f"The tongue of {FACTS[0]['subject']} is"]


def test_a_year_is_the_same_in_every_kind_of_file(tmp_path):
    """`1998.0` beside `1998` would be a second candidate for one year."""
    YEARS.to_parquet(tmp_path / "x.parquet")
    YEARS.to_json(tmp_path / "x.json", orient="records")
    YEARS.to_csv(tmp_path / "x.csv", index=False)
    made = [read_cases(f"facts_table:{tmp_path}/x.{kind}", "fact") for kind in ("parquet", "json", "csv")]
    assert made[0].cases == made[1].cases == made[2].cases
    assert set(made[2].cases[0].probes[0].candidates) == {"1990", "1998", "2001"}
    assert "whole numbers read without their .0: old (2)" in made[2].notes


def test_a_table_column_with_other_numbers_keeps_them_as_written(tmp_path):
    YEARS.assign(target=["3.0", "3.1", "3.10"]).to_csv(tmp_path / "x.csv", index=False)
    assert [case.request.targets[0] for case in cases(tmp_path / "x.csv")] == ["3.0", "3.1", "3.10"]


@pytest.mark.parametrize(
    ("name", "mark"), [("x.csv", ","), ("x.csv", ";"), ("x.tsv", "\t"), ("x.txt", "\t"), ("x", ";")]
)
def test_tables_of_any_delimiter_are_tables_of_facts(tmp_path, name, mark):
    table = pd.DataFrame(FACTS).rename(columns={"target_new": "target", "ground_truth": "old"})
    table.to_csv(tmp_path / name, sep=mark, index=False)
    made = cases(f"file:{tmp_path / name}")
    assert [case.dataset for case in made] == ["facts_table"] * 4
    assert all(any(probe.kind == "neighbour" for probe in case.probes) for case in made)


@pytest.mark.parametrize("before", ["\n", "\r\n \t\r\n", ";;;\n", "sep=;\n", "SEP=;\r\n\r\n"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_lines_before_the_header_of_a_table(tmp_path, before, name):
    """Blank lines, and the line from which Excel takes the delimiter (it wins over commas in the header)."""
    table = pd.DataFrame(FACTS).rename(columns={"target_new": "target", "ground_truth": "old"})
    table.to_csv(tmp_path / "plain.csv", index=False)
    table = table.assign(**{"a,b,c,d,e,f": 1}) if "=" in before else table
    text = table.to_csv(sep=";", index=False)
    (tmp_path / name).write_text(before + text, newline="")
    assert cases(f"facts_table:{tmp_path / name}") == cases(tmp_path / "plain.csv")


@pytest.mark.parametrize("said", ["NA", "NULL", "None", "#N/A", r"\N", "[]"])
def test_a_missing_value_of_a_table_is_no_answer(tmp_path, said):
    """R writes NA, SQL NULL: such an old answer would be a candidate of every other row."""
    YEARS.assign(old=["1990", None, "1998"]).to_csv(tmp_path / "x.csv", index=False, na_rep=said)
    made = read_cases(f"facts_table:{tmp_path}/x.csv", "fact")
    assert made.cases[1].probes[0].old is None and set(made.cases[1].probes[0].candidates) == {"1990", "1998", "2001"}
    assert "missing values left out: old (1)" in made.notes


@pytest.mark.parametrize(
    "old", [["Paris", "Lutetia"], '["Paris"]', "['Paris' 'Lutetia']", {"str": "Paris"}, [["Paris"]]]
)
def test_a_list_in_a_cell_of_a_table_is_no_answer(tmp_path, old):
    facts = [dict(fact, ground_truth=str(old) if i == 1 else fact["ground_truth"]) for i, fact in enumerate(FACTS)]
    pd.DataFrame(facts).to_csv(tmp_path / "x.csv", index=False)
    made = read_cases(f"easyedit:{tmp_path}/x.csv", "fact")
    assert [one.record for one in made.left_out] == [2] and len(made.cases) == 3
    assert "'ground_truth' is a list written as text; save the table as JSON" in made.left_out[0].reason


def test_brackets_in_a_cell_of_a_table_may_be_a_text(tmp_path):
    table = pd.DataFrame(FACTS).assign(prompt="[X] was born in", target_new=[f"[{i}] {{x}}" for i in range(4)])
    table.to_csv(tmp_path / "x.csv", index=False)
    made = cases(f"easyedit:{tmp_path / 'x.csv'}")
    assert [case.request.prompts[0] for case in made] == ["{} was born in"] * 4
    assert made[1].request.targets == ("[1] {x}",)


def test_dates_and_maps_of_parquet(tmp_path):
    """pandas holds a date as midnight of that day, and writes it to CSV as the date."""
    days = pd.to_datetime(["1998-05-01", "2001-01-31", "1990-12-24"])
    YEARS.assign(target=days).to_parquet(tmp_path / "x.parquet")
    assert [case.request.targets[0] for case in cases(tmp_path / "x.parquet")] == list(days.strftime("%Y-%m-%d"))
    local = [{"Neighbours": [{"prompt": "The capital of Peru is", "ground_truth": "Lima"}]}] * len(FACTS)
    kind = pa.map_(pa.string(), pa.list_(pa.struct([("prompt", pa.string()), ("ground_truth", pa.string())])))
    columns = {key: [fact[key] for fact in FACTS] for key in FACTS[0]}
    pq.write_table(pa.table(columns | {"locality": pa.array(local, kind)}), tmp_path / "map.parquet")
    assert cases(tmp_path / "map.parquet") == cases(
        wild.write(tmp_path, [fact | {"locality": local[0]} for fact in FACTS])
    )


def test_a_fault_in_a_table_names_the_line_of_the_file(tmp_path):
    (tmp_path / "x.csv").write_text('\nsep=,\n\nsubject,prompt,target\nPeru,"The capital,Lima\n')
    with pytest.raises(UserError, match="line 5 is no table row"):
        cases(tmp_path / "x.csv")


@pytest.mark.parametrize("text", ["sep=,\n", "sep=,", ",,,\n", "subject,prompt,target\n,,\n"])
def test_a_table_without_a_row_holds_no_record(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(UserError, match="holds no record; write at least one"):
        cases(tmp_path / "x.csv")


def test_rows_of_one_id_are_one_fact_only_where_their_languages_differ(tmp_path):
    """Other people's files number relations or repeat an id: three facts would become one with two 'translations'."""
    rows = [
        {"id": 1, "lang": lang, "subject": subject, "prompt": prompt, "target": "Rome", "old": "Paris"}
        for lang, subject, prompt in (
            ("en", "France", "The capital of {} is"),
            ("fr", "la France", "La capitale de {} est"),
            ("en", "Gaul", "The capital of {} is"),
        )
    ]
    made = read_cases(f"facts_table:{wild.write(tmp_path, rows)}", "fact")
    assert len(made.cases) == 1 and {p.lang for p in made.cases[0].probes if p.kind == "cross_lingual"} == {"fr"}
    assert [(one.record, "id '1' has a row in en already" in one.reason) for one in made.left_out] == [(3, True)]


def test_one_of_several_splits_is_chosen(tmp_path):
    path = wild.write(tmp_path, {"train": FACTS, "test": FACTS[:3]})
    with pytest.raises(
        UserError, match=r"several lists of records, train \(4\), test \(3\); choose one: .*#split=train"
    ):
        cases(path)
    assert (len(cases(f"{path}#split=test")), len(cases(f"{path}#split=all"))) == (3, 7)
    with pytest.raises(UserError, match="has no split 'dev'; it has train"):
        cases(f"{path}#split=dev")
    with pytest.raises(UserError, match="unknown option #fr"):
        cases(f"{path}#split=test#fr")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"PAR1 and no more", "damaged Parquet"), (b"\x1f\x8b\x08 and no more", "damaged archive"),
        (b"PK\x03\x04 and no more", "damaged archive"), (b"\x28\xb5\x2f\xfd", "Zstandard"), (b"%PDF-1.4", "PDF document"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"), (b"<!DOCTYPE html><html>", "web page"),
        (b"\x80\x04\x95", "pickle"), (b"[[1, 2], [3, 4]]", "rows without the names"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named_for_what_it_is(tmp_path, raw, message):
    path = tmp_path / "facts.json"
    path.write_bytes(raw)
    with pytest.raises(UserError, match=message) as caught:
        cases(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


MISSING = st.sampled_from([None, float("nan"), "", "  ", "nan", [], [None], {}, [""]])
OPTIONAL = ("ground_truth", "rephrase_prompt", "locality", "portability", "old_key")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_missing_optional_parts_cost_no_record(tmp_path, data):
    records: list[dict[str, Any]] = [dict(record) for record in wild.knowedit()]
    count = 0
    for record in records:
        for key in data.draw(st.lists(st.sampled_from(OPTIONAL), unique=True)):
            record[key] = data.draw(MISSING)
            count += 1
    case_set = read_cases(f"easyedit:{wild.write(tmp_path, records)}", "fact")
    assert len(case_set.cases) == case_set.records == 4 and not case_set.left_out
    counted = [note for note in case_set.notes if note.startswith("missing values left out")]
    assert bool(counted) == bool(count) and not any(
        "nan" in p.candidates for case in case_set.cases for p in case.probes
    )


ONE_CASE_A_RECORD = (
    "counterfact", "easyedit", "zsre", "fact_file", "facts_table", "ripple_edits", "mquake", "en_fr", "multilingual",
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), form=st.sampled_from(ONE_CASE_A_RECORD))
def test_no_record_disappears(tmp_path, data, form):
    facts = [{"prompt": f["prompt"], "subject": f["subject"], "target": f["target_new"]} for f in FACTS]
    records = facts if form in ("fact_file", "facts_table") else wild.RECORDS[form]()
    records = [dict(record) for record in records * 2]
    for record in data.draw(st.lists(st.sampled_from(records), max_size=4)):
        if record:
            record[data.draw(st.sampled_from(sorted(record)))] = data.draw(MISSING)
    try:
        case_set = read_cases(f"{form}:{wild.write(tmp_path, records)}", "fact")
    except UserError as error:
        assert "records cannot be used" in str(error)
    else:
        assert len(case_set.cases) + len({one.record for one in case_set.left_out}) == case_set.records == len(records)


def test_the_file_is_read_once(tmp_path):
    file = located("file", str(wild.write(tmp_path, FACTS)))
    assert file.records is file.records
