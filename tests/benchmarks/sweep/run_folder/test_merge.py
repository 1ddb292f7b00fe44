"""`merge` into a folder that is a run already."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.sweep.run_folder.merge import merge
from benchmarks.sweep.status import status
from benchmarks.sweep.store import RunStore
from editing.errors import BadData
from tests.benchmarks.sweep.test_runner import grid_run
from valley.rows.schema import read_run

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grid_run(tmp_path_factory.mktemp("runs"))


def rewritten(run: Path, address_begins: str = "", **note: bool) -> None:
    """Every cell of `run` with only its first row, under another address where one is given."""
    store = RunStore(run, json.loads((run / "run.json").read_text())["plan"], {}, {})
    for slot, held in list(store._slots.items()):
        (address,) = held
        name = address_begins + address[len(address_begins) :]
        error = "died" if note.get("failed") else ""
        store.write(name, slot, store.read(address).head(1).assign(cell=name, error=error), **note)
    store.close()


def test_a_finished_cell_stays_beside_a_failed_one(whole: Path, tmp_path: Path) -> None:
    before = read_run(whole)
    merge([whole], tmp_path / "out")
    failed = Path(shutil.copytree(whole, tmp_path / "failed"))
    rewritten(failed, failed=True)
    done = merge([failed], tmp_path / "out")
    assert (done.taken, done.duplicates, done.failed) == (4, 4, 0) and status(tmp_path / "out").done == 4
    pd.testing.assert_frame_equal(read_run(tmp_path / "out"), before)
    merge([whole], failed)
    pd.testing.assert_frame_equal(read_run(failed), before)


def test_another_result_of_the_same_place_is_refused(whole: Path, tmp_path: Path) -> None:
    before = read_run(whole)
    merge([whole], tmp_path / "out")
    other = Path(shutil.copytree(whole, tmp_path / "other"))
    rewritten(other, "0000")
    with pytest.raises(BadData, match="measure the same place with different weights, cases or code"):
        merge([other], tmp_path / "out")
    pd.testing.assert_frame_equal(read_run(tmp_path / "out"), before)
