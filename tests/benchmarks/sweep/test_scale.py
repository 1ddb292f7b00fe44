"""What a sweep does not do: load a model to learn that nothing is left, hash weights that nothing wrote to, start on no
device."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from benchmarks.measure.known_hash import known_hash, remember_hash
from benchmarks.provenance import CODE_SCHEMA
from benchmarks.sweep.cell import Cell
from benchmarks.sweep.executors.local import gpu_of, threads_of
from benchmarks.sweep.planning.plan import Plan
from benchmarks.sweep.run_folder.cell_files import KEY
from benchmarks.sweep.runner import run_bench
from benchmarks.sweep.search.place import places
from benchmarks.sweep.search.schedule import walk
from benchmarks.sweep.shards import Shard
from benchmarks.watch import Watch
from editing.errors import BadModel
from editing.files import canonical, digest
from editing.model.weights import weight_versions
from tests.benchmarks.sweep.test_runner import grid_run
from tests.benchmarks.sweep.test_runner import plan_of as grid_plan
from tests.benchmarks.sweep.test_search import plan_of
from tests.benchmarks.tiny import World, world
from valley.rows.schema import SCHEMA_VERSION, read_run

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grid_run(tmp_path_factory.mktemp("finished"))


def test_nothing_is_loaded_when_nothing_is_left_and_weights_are_hashed_once_a_rung(tiny: World, tmp_path: Path) -> None:
    first, second = Watch(), Watch()
    assert run_bench(grid_plan(tiny), tmp_path / "run", "cpu", quiet=True, watch=first).ran == 4
    again = run_bench(grid_plan(tiny), tmp_path / "run", "cpu", quiet=True, watch=second)
    assert (again.ran, again.kept, again.failed) == (0, 4, ())
    stages = [{name for path in watch.spent for name in path} for watch in (first, second)]
    assert "loading" in stages[0] and "loading" not in stages[1]


def test_a_hash_is_known_until_a_file_of_the_model_changes(tiny: World, tmp_path: Path) -> None:
    model = shutil.copytree(tiny.model, tmp_path / "model")  # the session's own file may be mapped by another process
    remember_hash(str(model), "a hash")
    assert known_hash(str(model)) == "a hash"
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert known_hash(str(model)) == ""


def test_a_write_in_place_is_noticed() -> None:
    module = torch.nn.Linear(2, 2)
    before = weight_versions(module)
    with torch.no_grad():
        module.weight.add_(1)
        module.weight.sub_(1)
    assert weight_versions(module) != before


def test_shards_of_one_rung_split_a_search_by_method(tiny: World) -> None:
    plan = replace(plan_of(tiny), methods=("rome", "memit", "emmet", "pmet"), axes=())
    place = places(plan)[0][0]
    whole = [task.cell.slot() for tasks in walk(place) for task in tasks]
    shares = [
        [task.cell.slot() for tasks in walk(place, Shard(i + 1, 16).part(1)) for task in tasks] for i in range(16)
    ]
    assert sorted(slot for share in shares for slot in share) == sorted(whole)
    assert sum(bool(share) for share in shares) == 4 * len(plan.kinds)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused_before_any_work(tiny: World, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="--device cuda: PyTorch sees 0 CUDA GPUs"):
        run_bench(grid_plan(tiny), tmp_path / "run", "cuda", quiet=True)
    assert not (tmp_path / "run").exists()


def test_workers_take_gpus_in_turn_and_share_the_cores() -> None:
    assert [gpu_of(i, 2) for i in range(3)] == ["0", "1", "0"]
    assert [gpu_of(i, 2, "5, 7") for i in range(2)] == ["5", "7"]
    assert [threads_of(n, 8) for n in (1, 3, 16)] == [8, 2, 1]


def earlier_address(cell: Cell, settings: str, weights: str) -> tuple[str, str]:
    """Address and slot of a cell as they were while they held all settings."""
    about = {
        k: v
        for k, v in asdict(cell).items()
        if v or k not in ("split", "stage", "known", "doses", "chat", "evaluation")
    }
    place = [cell.rung, cell.method, settings, cell.edit_kind, cell.dataset]
    slot = [*place, cell.seed, cell.stage] if cell.split or cell.stage else place
    return digest([about | {"settings": settings}, weights, CODE_SCHEMA, SCHEMA_VERSION]), digest(slot)


def restate(run: Path, plan: Plan, without: str, earlier: bool) -> None:
    """Rewrite the files of a run as if the setting `without` had not existed; `earlier`: with addresses of all
    settings."""
    for place in places(plan)[0]:
        for cell, _ in (task for tasks in walk(place) for task in tasks):
            weights = known_hash(cell.model)
            file = run / "cells" / f"{cell.address(weights)}.parquet"
            table = pq.read_table(file)
            settings = {k: v for k, v in json.loads(cell.settings).items() if k != without}
            text, note = canonical(settings), json.loads(table.schema.metadata[KEY])
            address, slot = earlier_address(cell, text, weights) if earlier else (file.stem, note["slot"])
            note = {"slot": slot, "failed": False} | ({} if earlier else {"settings": text})
            frame = table.to_pandas().assign(settings=text, cell=address)
            table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata({KEY: json.dumps(note)})
            file.unlink()
            pq.write_table(table, file.with_stem(address))


@pytest.mark.parametrize("without", ["", "steps"])
@pytest.mark.parametrize("earlier", [True, False])
def test_old_cells_are_found_where_their_settings_completed_by_the_defaults_are_equal(
    tiny: World, finished: Path, tmp_path: Path, without: str, earlier: bool
) -> None:
    plan = grid_plan(tiny)
    run_bench(plan, finished, "cpu", quiet=True)  # the hashes of the models are in this test's cache
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    restate(run, plan, without, earlier)
    again = run_bench(plan, run, "cpu", quiet=True)
    assert (again.ran, again.kept, again.failed) == (0, 4, ())
    assert sorted(file.name for file in (run / "cells").iterdir()) == sorted(
        file.name for file in (finished / "cells").iterdir()
    )
    assert set(read_run(run)["cell"]) == {file.stem for file in (run / "cells").iterdir()}
    other = run_bench(replace(plan, settings=(("steps", 3),)), run, "cpu", quiet=True, part=Shard(1, 4))
    assert (other.ran, other.kept) == (1, 0)


def test_a_cell_of_a_changed_default_runs_again(tiny: World, finished: Path, tmp_path: Path) -> None:
    plan = grid_plan(tiny)
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    file = sorted((run / "cells").iterdir())[0]
    table = pq.read_table(file)
    note = json.loads(table.schema.metadata[KEY])
    settings = json.loads(note["settings"])
    note["settings"] = canonical(settings | {"steps": settings["steps"] + 1})  # the default of the day it was made
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(note)}), file)
    again = run_bench(plan, run, "cpu", quiet=True)
    assert (again.ran, again.kept) == (1, 3) and len(list((run / "cells").iterdir())) == 4
