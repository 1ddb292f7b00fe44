"""The committed tables of the reference study are what its committed rows give, to the last digit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import cli

STUDY = Path(__file__).parents[3] / "results" / "study"
PLAN = ("--metric", "harmonic_net_all", "--min-known", "50")  # as `make study-tables` has it
INPUTS = ("run.json", "analysis_plan.json", "crispness.csv.gz")


@pytest.mark.slow
def test_tables_of_the_study_are_rebuilt_exactly(tmp_path: Path) -> None:
    rows = sorted((STUDY / "cells").glob("*.parquet"))
    if not rows:
        pytest.skip("the study's rows are not in results/study")
    run = tmp_path / STUDY.name
    (run / "cells").mkdir(parents=True)
    for path in rows:
        shutil.copy(path, run / "cells")
    for name in INPUTS:
        shutil.copy(STUDY / name, run / name)
    made = CliRunner().invoke(cli, ["report", str(run), *PLAN, "--csv", "--md"], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    sizes = run / "editability.csv"
    made = CliRunner().invoke(cli, ["editability", str(run), *PLAN, "--csv", str(sizes)], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    committed = sorted(path.name for path in STUDY.glob("report-*.csv"))
    assert len(committed) == 8
    for name in (*committed, "report.md", sizes.name):
        assert (run / name).read_text("utf-8") == (STUDY / name).read_text("utf-8"), name
