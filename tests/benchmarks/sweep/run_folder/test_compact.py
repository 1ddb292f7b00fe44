"""A compacted run holds the same rows in few files, and everything goes on with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.sweep.run_folder.compact import compact
from benchmarks.sweep.run_folder.merge import merge
from benchmarks.sweep.runner import run_bench
from benchmarks.sweep.status import format_status, status
from benchmarks.sweep.store import RunStore
from editing.errors import BadData
from tests.benchmarks.sweep.test_runner import grid_run, plan_of
from tests.benchmarks.tiny import World, world
from valley.rows import ask_rows, pack
from valley.rows.schema import read_run

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grid_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run", ignore=shutil.ignore_patterns(".locks")))


def files(run: Path) -> list[str]:
    return sorted(file.name for file in (run / "cells").glob("*.parquet"))


def cell_line(run: Path) -> pd.DataFrame:
    return ask_rows(run, "SELECT cell, count(*) AS n, sum(value) AS total FROM rows GROUP BY ALL ORDER BY ALL")


def test_the_rows_are_the_same_in_one_file_and_nothing_runs_again(tiny: World, run: Path, tmp_path: Path) -> None:
    before, questions, state = read_run(run), cell_line(run), status(run)
    done = compact(run)
    assert (done.cells, done.files_before, done.files_after) == (4, 4, 1) and len(files(run)) == 1
    pd.testing.assert_frame_equal(read_run(run), before)
    pd.testing.assert_frame_equal(cell_line(run), questions)
    assert (status(run).done, status(run).failed, status(run).left) == (state.done, 0, 0)
    again = run_bench(plan_of(tiny), run, "cpu", quiet=True)
    assert (again.ran, again.kept) == (0, 4) and len(files(run)) == 1
    assert compact(run).files_after == 1
    assert pack(run, tmp_path / "packed").rows == len(before)
    merged = merge([run], tmp_path / "merged")
    assert merged.taken == 4
    pd.testing.assert_frame_equal(read_run(tmp_path / "merged"), before)
    assert run_bench(plan_of(tiny), tmp_path / "merged", "cpu", quiet=True).kept == 4


def test_a_run_that_grew_is_compacted_further(tiny: World, run: Path) -> None:
    compact(run)
    assert run_bench(plan_of(tiny, sites=("mlp", "value")), run, "cpu", quiet=True).ran > 0
    grown, many = read_run(run), len(files(run))
    assert compact(run).files_after < many
    pd.testing.assert_frame_equal(read_run(run), grown)


def test_what_a_kill_leaves_is_read_once_and_removed(run: Path, whole: Path) -> None:
    before = read_run(run)
    compact(run)
    for name in files(whole)[:2]:  # as if it was killed before it removed these
        shutil.copy(whole / "cells" / name, run / "cells" / name)
    pd.testing.assert_frame_equal(read_run(run), before)
    assert (len(files(run)), status(run).done) == (3, 4)
    compact(run)
    assert len(files(run)) == 1
    pd.testing.assert_frame_equal(read_run(run), before)


def test_a_newer_result_replaces_a_compacted_one(run: Path) -> None:
    before = read_run(run)
    compact(run)
    about = json.loads((run / "run.json").read_text())
    store = RunStore(run, about["plan"], {}, {})
    address = str(before["cell"].iloc[0])
    slot = next(slot for slot, held in store._slots.items() if address in held)
    newer = store.read(address).assign(cell="0" * 64)
    store.write("0" * 64, slot, newer)
    store.close()
    after = read_run(run)
    assert len(after) == len(before) and set(after["cell"]) == (set(before["cell"]) - {address}) | {"0" * 64}


def test_it_is_refused_while_somebody_writes_and_for_what_is_no_run(run: Path, tmp_path: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    store = RunStore(run, about["plan"], {}, {})
    with pytest.raises(BadData, match="at work on it"):
        compact(run)
    assert len(files(run)) == 4
    store.close()
    assert compact(run).files_after == 1
    with pytest.raises(BadData, match="no run there"):
        compact(tmp_path / "nothing")
    pack(run, tmp_path / "packed")
    with pytest.raises(BadData, match="packed run"):
        compact(tmp_path / "packed")


def test_failed_cells_keep_their_files_and_run_again(tiny: World, run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    store = RunStore(run, about["plan"], {}, {})
    address = str(read_run(run)["cell"].iloc[0])
    slot = next(slot for slot, held in store._slots.items() if address in held)
    store.write(address, slot, store.read(address).head(1).assign(error="broken", reason=""), failed=True)
    store.close()
    assert (compact(run).cells, len(files(run))) == (3, 2)
    again = run_bench(plan_of(tiny), run, "cpu", quiet=True)
    assert (again.ran, again.kept) == (1, 3)


def test_two_processes_replace_all_cells_of_a_compacted_file(run: Path) -> None:
    before = read_run(run)
    compact(run)
    about = json.loads((run / "run.json").read_text())
    one, two = RunStore(run, about["plan"], {}, {}), RunStore(run, about["plan"], {}, {})
    places = [(slot, address) for slot, held in one._slots.items() for address in held]
    for n, (slot, address) in enumerate(places):
        name = f"{n:064}"
        one.write(name, slot, one.read(address).assign(cell=name))
        assert two.done(name)
        two.keep_only(name, slot)  # as a process does with a cell that is there
    one.close(), two.close()
    assert len(files(run)) == len(places)
    assert len(read_run(run)) == len(before)


def test_a_damaged_compacted_file_is_named_before_its_cells_run_again(tiny: World, run: Path) -> None:
    compact(run)
    (file,) = (run / "cells").glob("*.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[:-50])
    assert "names what must be restored" in format_status(status(run))
    with pytest.raises(BadData, match=rf"{file.name}: not readable as Parquet; restore it, or delete it"):
        run_bench(plan_of(tiny), run, "cpu", quiet=True)
    assert files(run) == [file.name]
    file.write_bytes(whole)
    assert run_bench(plan_of(tiny), run, "cpu", quiet=True).kept == 4
