"""What a sweep does not do: load a model to learn that nothing is left, hash weights that nothing wrote to, start on no device."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.measure.known_hash import known_hash
from benchmarks.sweep.executors.local import gpu_of, threads_of
from benchmarks.sweep.runner import places, run_bench
from benchmarks.sweep.schedule import walk
from benchmarks.sweep.shards import Shard
from benchmarks.watch import Watch
from editing.errors import BadModel
from editing.model.language_model import weight_versions
from tests.benchmarks.sweep.test_runner import plan_of as grid_plan
from tests.benchmarks.sweep.test_search import plan_of
from tests.benchmarks.tiny import World, world

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


def test_nothing_is_loaded_when_nothing_is_left_and_weights_are_hashed_once_a_rung(tiny: World, tmp_path: Path) -> None:
    first, second = Watch(), Watch()
    assert run_bench(grid_plan(tiny), tmp_path / "run", "cpu", quiet=True, watch=first).ran == 4
    again = run_bench(grid_plan(tiny), tmp_path / "run", "cpu", quiet=True, watch=second)
    assert (again.ran, again.kept, again.failed) == (0, 4, ())
    stages = [{name for path in watch.spent for name in path} for watch in (first, second)]
    assert "loading" in stages[0] and "loading" not in stages[1]


def test_a_hash_is_known_until_a_file_of_the_model_changes(tiny: World, tmp_path: Path) -> None:
    plan = grid_plan(tiny)
    run_bench(plan, tmp_path / "run", "cpu", quiet=True)
    model = places(plan)[0][0].rung.model
    weights = Path(model) / "model.safetensors"
    assert known_hash(model)
    kept = tmp_path / "weights"
    shutil.copy2(weights, kept)
    try:
        weights.write_bytes(weights.read_bytes())
        assert known_hash(model) == ""
    finally:
        shutil.copy2(kept, weights)
    assert known_hash(model)


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
