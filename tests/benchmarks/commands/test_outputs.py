"""Every command that prints a table or values takes --json and --csv PATH: one option for all, JSON alone on stdout."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pandas as pd
import pytest

from benchmarks.commands.options import NAMES, TABLE, emit
from cli import cli
from tests.benchmarks.commands.test_cli import ROOT, call, refused
from tests.valley.build import ladder

SCRIPTS = ("schema", "slurm", "export", "adapter", "play")  # what they print is a file, the path of one, or an address
OWN_CSV = ("report", "rows")  # a flag for six tables; a path that may be left out


def commands(group: click.Group, *above: str) -> list[tuple[tuple[str, ...], click.Command]]:
    """(words, command) of every command, those of groups within the group too."""
    out: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        out += commands(command, *above, name) if isinstance(command, click.Group) else [((*above, name), command)]
    return out


@pytest.mark.parametrize(
    "words, command", commands(cli), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_has_the_two_options(words: tuple[str, ...], command: click.Command) -> None:
    options = {option: one for one in command.params if isinstance(one, click.Option) for option in one.opts}
    assert ("--json" in options) == (words[0] not in SCRIPTS)
    for name in ("--json", "--csv"):
        if words[0] not in (*SCRIPTS, *OWN_CSV):
            assert (options[name].help, options[name].name) == (TABLE[name]["help"], NAMES.get(name, "csv"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three rungs and a file of facts."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "run" / "cells").mkdir(parents=True)
    (folder / "run" / "run.json").write_text("{}")
    ladder(3).to_parquet(folder / "run" / "cells" / "a.parquet")
    facts = [
        {"prompt": "The capital of {} is", "subject": s, "target": "Rome", "old": "Paris"} for s in ("France", "Mali")
    ]
    (folder / "facts.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize(
    "words, message",
    [
        ("datasets check FOLDER/facts.csv --csv FOLDER/facts.csv", "is read by this command"),
        ("datasets check facts_table:FOLDER/facts.csv#head --csv FOLDER/run/../facts.csv", "is read by this command"),
        ("scores FOLDER/run --csv FOLDER/run/run.json", "is not a .csv file"),
        ("scores FOLDER/run --csv FOLDER/run/readings.csv", "is not a .csv file that this command writes"),
        ("board FOLDER/run --out FOLDER/run/run.json", "is not a .html file"),
    ],
)
def test_nothing_else_is_written_over(folder: Path, words: str, message: str) -> None:
    (folder / "facts.csv").write_text("prompt,subject,target\nThe capital of {} is,Mali,Rome\n")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert message in refused(*(word.replace("FOLDER", str(folder)) for word in words.split()))
    assert before == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "words",
    ["curve LONG", "edit --model LONG --rename a=b", "scores FOLDER/run --csv LONG", "bench --model m --out LONG"],
)
def test_a_name_too_long_for_the_disk_is_one_line(folder: Path, words: str) -> None:
    said = refused(*(word.replace("FOLDER", str(folder)).replace("LONG", "n" * 300) for word in words.split()))
    assert "nnn: File name too long; name another path" in said


def test_a_column_that_is_a_word_of_sql_is_named(folder: Path) -> None:
    assert 'the column case stands in quotes: "case"' in refused(
        "rows", folder / "run", "--sql", "select case, rung from rows"
    )


def test_a_table_of_before_is_replaced(folder: Path) -> None:
    for _ in range(2):
        assert call("scores", folder / "run", "--csv", folder / "table.csv").exit_code == 0


LINES = {
    "list methods": 15, "list ladders": 5, "list datasets": 5, "list plans": 2, "list metrics": 10, "list models": 2,
    "ladder list": 5, "ladder show demo": 4, "describe rome": 5, "describe demo": 4, "describe world_facts": 1,
    "datasets check facts.json": 1, "datasets show facts.json": 2, "curve run --min-known 2": 6,
    "scores run": 6, "editability run --min-known 2": 1, "hypotheses run --min-known 2": 9,
    "compare run run --min-known 2": 1, "rows run": 504, "power --rungs 4 --sd .03 --depth .2 --simulations 100": 1,
}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_json_is_alone_and_csv_is_a_table(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done = call(*line.split(), "--json", "--csv", "out.csv")
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout, parse_constant=pytest.fail)
    table = pd.read_csv("out.csv")
    assert len(table) >= LINES[line] and len(table.columns) > 1
    if isinstance(value, list):
        assert len(value) == len(table)
        assert list(value[0]) == list(table.columns)


def test_a_method_and_a_reading_are_described_in_words() -> None:
    assert "long_prefixes" in call("describe", "rome").stdout and "layer" in call("describe", "lens").stdout


def test_numbers_are_numbers() -> None:
    """No value of a model's description hides a number in words."""
    about = json.loads(call("describe", str(ROOT / "results/ladders/grown-quick/rungs/gpt2-1x64"), "--json").stdout)
    assert about["sites"][0]["count"] == about["n_layers"] == 1 and isinstance(about["parameters"], int)
    assert all(" " not in key for key in about)


def test_json_has_small_numbers_and_no_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    """A table was rounded to ten decimals, and an infinite value ended in a traceback."""
    emit(pd.DataFrame({"p": [1.23456789e-9, float("inf")]}), str, True, None)
    first, second = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert first["p"] == pytest.approx(1.23456789e-9, rel=1e-6) and second["p"] is None
    emit({"difference": float("inf"), "low": [float("nan"), -float("inf")]}, str, True, None)
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"difference": None, "low": [None, None]}
