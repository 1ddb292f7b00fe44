"""`valley.Run`: a run folder judged from Python; the notebook's frame; nothing heavy before it is used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import valley
from cli import cli
from tests.valley.build import ladder
from valley.report.files import markdown
from valley.report.run import VERDICT_COLUMNS, report_of
from valley.report.verdict import UNKNOWN, _missed
from valley.rows import RowsError
from valley.rows.plan_record import store_plan

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three rungs, eight test cases each, whose analysis plan states 2 known cases."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "cells").mkdir()
    ladder(3).to_parquet(folder / "cells" / "a.parquet")
    store_plan(folder, {"min_known": 2, "bootstrap": 50, "draws": 50})
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> valley.Run:
    return valley.Run(folder)


def test_tables_of_a_run(run: valley.Run) -> None:
    curve = run.curve()
    assert curve["score"].notna().all(), "the stored plan's min_known counts"
    assert valley.Run(run.folder, min_known=9).curve()["score"].isna().all()
    assert len(run.rows) == 3 * 2 * 12 * 7
    ours, published = run.scores(), run.scores("counterfact")
    assert len(ours) == len(published) == 6 and "ES" in published
    with pytest.raises(RowsError, match="use one of ours, counterfact, easyedit"):
        run.scores("fame")


def test_verdict_and_report(run: valley.Run, folder: Path, tmp_path: Path) -> None:
    verdict = run.verdict()
    assert list(verdict) == VERDICT_COLUMNS and verdict["outcome"].tolist() == ["inconclusive"]
    assert run.hypotheses()["id"].tolist()[:2] == ["H1", "H2"]
    page = run.report(tmp_path / "page.html").read_text()
    assert page == run.page.page and run.report() == folder / "report.html"
    frame = run._repr_html_()
    assert frame.startswith('<iframe sandbox="allow-scripts"') and "&lt;!doctype html&gt;" in frame
    assert "<script" not in frame


def test_the_command_that_makes_a_report_again_states_its_stratum(folder: Path, tmp_path: Path) -> None:
    """It left out the stratum, and `report` could not take one: the command made a report of other cases."""
    copied = tmp_path / "mine"
    shutil.copytree(folder, copied)
    for stratum in ("all", "known"):
        text = markdown(report_of(copied, which=stratum))
        command = next(line for line in text.splitlines() if line.startswith("python cli.py report"))
        assert f"--stratum {stratum}" in command
        words = [word if word != "results/mine" else str(copied) for word in command.split()[2:]]
        made = CliRunner().invoke(cli, [*words, "--md"])
        assert made.exit_code == 0, made.output
        assert (copied / "report.md").read_text("utf-8") == text


def test_the_page_and_the_charts_go_to_another_folder(folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.iterdir())
    for command in ("report", "curve"):
        made = CliRunner().invoke(cli, [command, str(folder), "--out", str(tmp_path / "shown")])
        assert made.exit_code == 0, made.output
    assert sorted(folder.iterdir()) == before
    assert {path.suffix for path in (tmp_path / "shown").iterdir()} == {".html", ".png"}


def test_depths_that_are_unknown_are_named_as_such() -> None:
    known, unknown = {"whose": "fact edits", "depth": "0.20"}, {"whose": "rename edits", "depth": UNKNOWN}
    shown = "shallowest valley that this score would have shown 80% of the time"
    assert _missed([known, unknown]) == (
        f"The {shown} has a depth of 0.20 (fact edits); for rename edits, it is unknown (too few sizes)."
    )
    assert _missed([unknown]) == f"For rename edits, the {shown} is unknown (too few sizes)."
    assert _missed([]) == ""


def test_no_such_run() -> None:
    with pytest.raises(RowsError, match="no such run folder"):
        valley.Run("nothing")
    with pytest.raises(RowsError, match="5: int, not the path of a run folder"):
        valley.Run(5)  # pyright: ignore[reportArgumentType]


def test_the_face_is_free_until_used_and_never_needs_torch(folder: Path) -> None:
    assert set(valley.__all__) == set(dir(valley)) and all(getattr(valley, name) for name in valley.__all__)
    code = (
        "import sys, valley; assert 'pandas' not in sys.modules; import valley.report.files, valley.compare.figure; "
        "valley.Run(sys.argv[1]).scores(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, check=False).returncode == 0
