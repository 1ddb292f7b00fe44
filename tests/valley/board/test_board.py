"""The board: many runs in one table and one page; a run copied from elsewhere is one of them; every string is text."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.benchmarks.commands.test_cli import call, refused
from valley.board import BOARD_COLUMNS, board, format_board, write_board
from valley.compare import format_repeat, repeat
from valley.rows import RowsError, read_run

ROOT = Path(__file__).resolve().parents[3]
PACKED = ROOT / "results" / "ladders" / "one-layer"


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of others: one as it was packed, one with another record."""
    folder = tmp_path_factory.mktemp("collected")
    for name in ("theirs", "<b>mine"):
        shutil.copytree(PACKED, folder / name)
    about = json.loads((folder / "theirs" / "run.json").read_text())
    about |= {"machine": "</script><script>alert(1)</script>", "fixed_at": "2025-01-02T03:04:05+00:00"}
    (folder / "theirs" / "run.json").write_text(json.dumps(about))
    return folder


def test_a_run_copied_from_elsewhere_is_on_the_board(copied: Path, tmp_path: Path) -> None:
    done = call("board", copied, "--min-known", 5, "--out", tmp_path / "b.html", "--csv", tmp_path / "b.csv", "--json")
    assert done.exit_code == 0, done.output
    lines = json.loads(done.stdout)
    table = pd.read_csv(tmp_path / "b.csv")
    assert list(table.columns) == list(BOARD_COLUMNS) and len(table) == len(lines) == 2 * 8
    one = table[table["run"].str.endswith("theirs")].iloc[0]
    assert one["date"] == "2025-01-02" and one["commit"].startswith("1a68a65")
    both = table.drop(columns=["run", "machine", "date"])
    assert both.iloc[:8].reset_index(drop=True).equals(both.iloc[8:].reset_index(drop=True))

    page = (tmp_path / "b.html").read_text()
    assert "<script>alert" not in page and "<b>mine" not in page and not re.search(r"(src|href)=\"http", page)
    data = re.search(r'id="data">(.*?)</script>', page, re.S)
    assert data is not None and {line["run"] for line in json.loads(data[1])} == set(table["run"])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    assert "no run there" in refused("board", tmp_path)
    with pytest.raises(RowsError, match="no run there"):
        board([tmp_path / "nothing"])


def test_a_line_without_a_score_says_why(copied: Path, tmp_path: Path) -> None:
    table = board([copied / "theirs"], min_known=100_000)
    assert table["score"].isna().all() and (table["reason"] != "").all()
    assert "null" in write_board(table, tmp_path / "b.html").read_text()


@pytest.mark.slow
def test_some_lines_have_a_score_and_others_a_reason(copied: Path) -> None:
    few = board([copied / "theirs"], min_known=5)
    assert ((few["reason"] != "") == few["score"].isna()).all() and few["score"].isna().any()
    assert "no placebo" in format_board(few)
    one, two = (few.iloc[:1].assign(model=f"./models/a-long-folder/gpt2-{size}") for size in ("1x64", "2x128"))
    text = format_board(pd.concat([one, two]))  # folders share their beginning
    assert "gpt2-1x64" in text and "gpt2-2x128" in text


def test_rows_that_differ_are_counted() -> None:
    rows = read_run(PACKED, doses=True).iloc[:4000]
    assert repeat(rows, rows).identical
    other = rows.copy()
    first = other.index[other["value"].notna()][:10]
    other.loc[first, "value"] = 1 - other.loc[first, "value"]
    done = repeat(rows, other)
    assert (done.same, done.identical) == (done.rows - 10, False) and done.difference > 0
    assert done.repeated == (done.difference <= 0.02)
    shorter = repeat(rows, rows.iloc[100:])
    assert shorter.only_first == 100 and not shorter.repeated
    unfinished = repeat(rows.iloc[100:], rows)
    assert not unfinished.repeated and "unfinished: its rows are the same again" in format_repeat("run", unfinished)
    assert "NOT reproduced" in format_repeat("run", shorter)
    assert not repeat(rows, rows.assign(value=1.0, model_hash="x")).repeated


def test_settings_and_free_text_of_one_run_only_do_not_tell_rows_apart() -> None:
    rows = read_run(PACKED, doses=True).iloc[:4000]
    newer = [json.dumps(json.loads(text) | {"preset": "published"}) for text in rows["settings"]]
    assert repeat(rows, rows.assign(settings=newer)).identical
    assert repeat(rows, rows.assign(exact_after=float("nan"))).identical
    assert not repeat(rows, rows.assign(hit_after=float("nan"))).identical
    other = [json.dumps(json.loads(text) | {"seed": 7}) for text in rows["settings"]]
    assert repeat(rows, rows.assign(settings=other)).rows < len(rows)
