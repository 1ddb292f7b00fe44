"""The column `dose`: 1 where a file states none, and never mixed into a mean by accident."""

from __future__ import annotations

from pathlib import Path

from valley.rows import ask_rows, pack, read_run, to_frame

RECORD = {"rung": "r", "method": "rome", "settings": "{}", "case": "c", "probe": "efficacy", "probe_index": 0}


def run_of(folder: Path) -> Path:
    """A run of two cells: one of an earlier version, without the column, and one measured at three doses."""
    (folder / "cells").mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    old = to_frame([RECORD | {"value": 0.25}]).drop(columns="dose")
    new = to_frame([RECORD | {"rung": "s", "value": dose / 2, "dose": dose} for dose in (2.0, 0.5, 1.0)])
    old.to_parquet(folder / "cells" / "old.parquet")
    new.to_parquet(folder / "cells" / "new.parquet")
    return folder


def test_rows_of_an_earlier_version_are_at_dose_one_and_so_is_a_record_that_states_none(tmp_path: Path) -> None:
    rows = read_run(run_of(tmp_path / "run"), doses=True)
    assert rows.loc[rows["rung"] == "r", "dose"].tolist() == [1.0]
    assert rows.loc[rows["rung"] == "s", "dose"].tolist() == [0.5, 1.0, 2.0], "doses of a case in rising order"


def test_only_the_edit_as_made_is_read_unless_every_dose_is_asked_for(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    assert read_run(run)["value"].tolist() == [0.25, 0.5]
    assert read_run(run, ["value"]).columns.tolist() == ["value"]
    assert ask_rows(run, "SELECT count(*) AS n, sum(dose) AS d FROM rows").iloc[0].tolist() == [4, 4.5]


def test_a_packed_run_keeps_every_dose(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    pack(run, tmp_path / "packed")
    assert read_run(tmp_path / "packed", doses=True)["dose"].tolist() == [1.0, 0.5, 1.0, 2.0]
