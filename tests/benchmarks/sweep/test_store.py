"""The run folder: whole files or none, retries, stale results, foreign folders, two processes, kill -9."""

from __future__ import annotations

import json
import resource
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.sweep.store import RunStore
from editing.errors import BadData
from tests.benchmarks.forks import fork
from valley.rows.schema import ADDED, COLUMNS, RowsError, read_run, to_frame

FIXED = {"ladder": "demo", "limit": 3, "seed": 0}
ROOT = Path(__file__).resolve().parents[3]


def frame(case: str, **values: object) -> pd.DataFrame:
    return to_frame([{"cell": "c", "rung": "r", "rung_index": 0, "case": case, "probe_index": 0, **values}])


def opened(folder: Path, **changes: object) -> RunStore:
    return RunStore(folder, FIXED | changes, {"methods": ["rome"]}, {"commit": "abc"})


def test_a_table_from_before_the_added_columns_is_read(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write("a" * 64, "slot", frame("one", value=0.5))
    (file,) = (tmp_path / "cells").glob("*.parquet")
    pd.read_parquet(file).drop(columns=list(ADDED)).to_parquet(file)
    rows = read_run(tmp_path)
    assert (
        list(rows.columns) == list(COLUMNS) and rows["known_rate_en"].isna().all() and rows["value"].tolist() == [0.5]
    )
    assert rows["edit_lang"].tolist() == [""]
    pd.read_parquet(file).drop(columns=["model"]).to_parquet(file)
    with pytest.raises(RowsError, match="delete it and run bench again"):
        read_run(tmp_path)


def test_a_finished_cell_is_done_and_read_back(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert not store.done("a" * 64)
    store.write("a" * 64, "slot", frame("one", value=0.5))
    assert store.done("a" * 64) and opened(tmp_path).done("a" * 64)
    assert read_run(tmp_path)["value"].tolist() == [0.5]
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["plan"] == FIXED and record["commit"] == "abc" and record["asked"] == [{"methods": ["rome"]}]


def test_a_failed_cell_is_tried_again_and_replaced(tmp_path: Path) -> None:
    opened(tmp_path).write("a", "slot", frame("one", error="no"), failed=True)
    again = opened(tmp_path)
    assert not again.done("a") and not again.has_result("slot")
    again.write("a", "slot", frame("one", value=1.0))
    assert again.done("a") and read_run(tmp_path)["error"].tolist() == [""]


def test_another_process_may_have_mended_a_failed_cell(tmp_path: Path) -> None:
    opened(tmp_path).write("a", "slot", frame("one", error="no"), failed=True)
    own, other = opened(tmp_path), opened(tmp_path)
    time.sleep(0.02)
    other.write("a", "slot", frame("one", value=1.0))
    assert own.done("a")


def test_a_newer_result_replaces_the_stale_one_of_its_slot(tmp_path: Path) -> None:
    opened(tmp_path).write("old", "slot", frame("one", value=0.0))
    store = opened(tmp_path)
    store.write("new", "slot", frame("one", value=1.0))
    store.write("else", "other slot", frame("two", value=0.25))
    assert read_run(tmp_path)["value"].tolist() == [1.0, 0.25]


def test_leftover_temp_files_are_ignored_and_cleaned_unless_claimed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write("done", "slot", frame("one"))
    dead, alive = (tmp_path / "cells" / f".{name}.parquet.x1.tmp" for name in ("dead", "alive"))
    dead.write_bytes(b"half")
    alive.write_bytes(b"half")
    assert len(read_run(tmp_path)) == 1
    with store.claim("alive") as own:
        assert own
        opened(tmp_path)
    assert alive.exists() and not dead.exists()


def test_a_damaged_cell_counts_as_missing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write("a", "slot", frame("one"))
    file = tmp_path / "cells" / "a.parquet"
    file.write_bytes(file.read_bytes()[:100])
    again = opened(tmp_path)
    assert not again.done("a") and again.unreadable == ["a.parquet"]


def test_a_folder_of_another_plan_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).write("a", "slot", frame("one"))
    with pytest.raises(BadData, match="limit 3, not 9"):
        opened(tmp_path, limit=9)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(BadData, match=r"run\.json"):
        opened(tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(BadData, match=r"no run\.json"):
        opened(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/none")):
        with pytest.raises(BadData, match="cannot write"):
            opened(folder)


def test_a_path_that_climbs_is_just_a_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    opened(tmp_path / "a" / ".." / "b")
    assert (tmp_path / "b" / "run.json").exists()


def test_a_full_disk_stops_with_one_line_and_keeps_what_is_there(tmp_path: Path) -> None:
    out = tmp_path / "run"

    def fill() -> None:
        store = opened(out)
        store.write("a", "slot", frame("one"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        store.write("b", "slot b", frame("two", prompt=str(list(range(9000)))))

    child = fork(fill, tmp_path / "stderr")
    assert child.wait() == 1 and child.log.read_text().startswith("BadData: ")
    assert [f.name for f in (out / "cells").iterdir()] == ["a.parquet"]


def test_kill_9_while_writing_leaves_whole_files_only(tmp_path: Path) -> None:
    out = tmp_path / "run"

    def write() -> None:
        store = opened(out)
        for i in range(100000):
            with store.claim(f"c{i % 50}"):
                store.write(f"c{i % 50}", f"s{i % 50}", frame(f"{i % 50:03}", value=0.5))

    for _ in range(3):
        workers = [fork(write, tmp_path / f"stderr-{i}") for i in range(2)]
        until = time.monotonic() + 30
        while not list(out.glob("cells/*.parquet")) and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.2)
        for worker in workers:
            worker.kill()
            assert worker.wait() == -signal.SIGKILL, worker.log.read_text()
        rows = read_run(out)
        assert len(rows) == len(list(out.glob("cells/*.parquet"))) and rows["value"].eq(0.5).all()
    opened(out)
    assert not list(out.glob("cells/.*"))
