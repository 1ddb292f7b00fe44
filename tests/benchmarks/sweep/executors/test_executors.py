"""Workers, shards, Ray: whoever runs a plan, the table is the same, also when a worker dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest

from benchmarks.sweep.executors.execute import execute
from benchmarks.sweep.executors.local import _interrupt_once, _interrupts_held
from benchmarks.sweep.executors.slurm import array_script
from benchmarks.sweep.executors.workers import Workers
from benchmarks.sweep.planning.plan import Edits
from benchmarks.sweep.run_folder.merge import merge
from benchmarks.sweep.runner import run_bench
from benchmarks.sweep.shards import Shard
from benchmarks.sweep.status import format_status, status
from benchmarks.sweep.store import RunStore
from editing.errors import BadData, BadRequest
from tests.benchmarks.sweep.test_search import plan_of, searched_run
from tests.benchmarks.tiny import World, world
from valley.rows.schema import VOLATILE, read_run

pytestmark = pytest.mark.usefixtures("own_cache")

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched_run(tmp_path_factory.mktemp("runs"))


def same(left: Path, right: Path) -> None:
    one, other = (read_run(folder).drop(columns=list(VOLATILE)) for folder in (left, right))
    pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.slow
def test_shards_share_a_folder_or_are_merged(tiny: World, undisturbed: Path, tmp_path: Path) -> None:
    for i in (1, 2):
        run_bench(plan_of(tiny), tmp_path / f"node-{i}", "cpu", quiet=True, part=Shard(i, 2))
        assert read_run(tmp_path / f"node-{i}")["rung"].nunique() == 1
    done = merge([tmp_path / "node-1", tmp_path / "node-2", tmp_path / "node-1"], tmp_path / "both")
    assert done.taken == done.duplicates + len(list(tmp_path.glob("node-2/cells/*.parquet")))
    same(tmp_path / "both", undisturbed)
    assert run_bench(plan_of(tiny), tmp_path / "both", "cpu", quiet=True).ran == 0
    run_bench(plan_of(tiny), tmp_path / "node-1", "cpu", quiet=True, part=Shard(2, 2))
    same(tmp_path / "node-1", undisturbed)


def test_more_shards_than_rungs_cut_a_grid_by_cells(tiny: World, tmp_path: Path) -> None:
    few = (Edits("fact", f"fact_file:{tiny.facts}", 2),)
    plan = replace(plan_of(tiny), search="grid", methods=("rome",), edits=few, split=None)
    counts = [run_bench(plan, tmp_path, "cpu", quiet=True, part=Shard(i + 1, 4)).ran for i in range(4)]
    assert counts == [2, 2, 2, 2] and run_bench(plan, tmp_path, "cpu", quiet=True).kept == 8


@pytest.mark.slow
def test_what_is_free_is_done_before_a_cell_in_work_is_waited_for(
    tiny: World, undisturbed: Path, tmp_path: Path
) -> None:
    """Also in a later step of the search, after a wait for the step before it."""
    plan, out = plan_of(tiny), tmp_path / "run"
    files = sorted((undisturbed / "cells").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    sides = [pd.read_parquet(file)["split"].iloc[0] for file in files]
    early, late = files[0].stem, files[sides.index("test")].stem
    run_bench(plan, out, "cpu", quiet=True, part=Shard(2, 2))
    store = RunStore(out, plan.fixed(), {}, {})
    runner = threading.Thread(target=lambda: run_bench(plan, out, "cpu", quiet=True))

    def there() -> set[str]:
        return {file.stem for file in out.glob("cells/*.parquet")}

    with store.claim(late):
        with store.claim(early):
            runner.start()
            time.sleep(1)
        until = time.monotonic() + 120
        while len(there()) < len(files) - 1 and time.monotonic() < until:
            time.sleep(0.05)
        assert there() == {file.stem for file in files} - {late}
    runner.join(timeout=120)
    assert not runner.is_alive() and len(there()) == len(files)


def test_only_runs_of_one_plan_are_merged(tiny: World, undisturbed: Path, tmp_path: Path) -> None:
    other = replace(plan_of(tiny), search="grid", probes=1)
    assert run_bench(other, tmp_path / "other", "cpu", quiet=True, part=Shard(1, 24)).ran == 1
    with pytest.raises(BadData, match=r"probes 0, not 1; search 'halving', not 'grid'"):
        merge([undisturbed, tmp_path / "other"], tmp_path / "out")
    with pytest.raises(BadData, match="no run there"):
        merge([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_status_tells_done_failed_running_and_left(tiny: World, undisturbed: Path, tmp_path: Path) -> None:
    whole = status(undisturbed)
    assert whole.done == whole.expected > 0 and (whole.failed, whole.running, whole.left) == (0, 0, 0)
    assert whole.seconds_left is None and "per hour" not in format_status(whole)  # files of a copied run are all new
    plan = plan_of(tiny)
    run_bench(plan, tmp_path, "cpu", quiet=True, part=Shard(1, 2))
    half = status(tmp_path)
    assert (half.expected, half.done + half.left) == (whole.expected, whole.expected) and half.left > 0
    assert "nobody is at work" in format_status(half) and half.plan_hash == plan.hash
    store = RunStore(tmp_path, plan.fixed(), {}, {})
    with store.claim("f" * 64):
        busy = status(tmp_path)
        assert (busy.running, busy.left) == (1, half.left - 1) and busy.seconds_left is not None
    file = next((tmp_path / "cells").iterdir())
    file.write_bytes(file.read_bytes()[:50])
    assert (status(tmp_path).unreadable, status(tmp_path).done) == (1, half.done - 1)
    with pytest.raises(BadData, match="no run there"):
        status(tmp_path / "cells")


def test_processes_start_with_interrupts_held() -> None:
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with _interrupts_held():
        held = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (held.stdout.strip(), after.stdout.strip()) == ("True", "False")


def test_a_second_interrupt_is_not_heard() -> None:
    before = signal.signal(signal.SIGINT, _interrupt_once)
    try:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["run.json", "cells/*.parquet"])
def test_interrupted_workers_end_without_a_traceback(tiny: World, tmp_path: Path, stage: str) -> None:
    """Only the parent is interrupted, as by `kill -INT`, as soon as a file is there: before workers start, or later."""
    command = [sys.executable, "cli.py", "bench", "--ladder", tiny.ladder, "--datasets", tiny.facts, "--kinds", "fact"]
    command += ["--workers", "2", "--out", str(tmp_path / "run")]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while parent.poll() is None and not list((tmp_path / "run").glob(stage)):
        time.sleep(0.02)
    parent.send_signal(signal.SIGINT)
    said, _ = parent.communicate(timeout=60)
    assert parent.returncode == 130 and "run the same command to go on" in said and "Traceback" not in said


@pytest.mark.slow
def test_two_workers_and_one_of_them_killed_end_in_the_same_table(
    tiny: World, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code = (
        "import sys; from pathlib import Path\n"
        "from benchmarks.sweep.executors.execute import Workers, execute; from "
        "tests.benchmarks.sweep.test_search import plan_of\n"
        "from tests.benchmarks.tiny import World\n"
        "if __name__ == '__main__':\n"
        "    done = execute(plan_of(World(Path(sys.argv[1]))), Path(sys.argv[2]), Workers(count=2), 'cpu')\n"
        "    print(done.cells, done.failed)\n"
    )
    script = tmp_path / "go.py"
    script.write_text(code)
    command = [sys.executable, str(script), str(tiny.folder), str(out)]
    environment = {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120
    while not list(out.glob("cells/*.parquet")) and time.monotonic() < until:
        time.sleep(0.01)
    workers = [p for p in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    result, errors = parent.communicate(timeout=240)
    assert parent.returncode == 0, errors
    assert result.strip() == f"{len(list(undisturbed.glob('cells/*.parquet')))} ()" and "a worker died" in errors
    same(out, undisturbed)


@pytest.mark.slow
def test_ray_with_a_worker_killed_in_the_middle(tiny: World, undisturbed: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (extra `ray`)")
    out, killed = tmp_path / "run", []

    def kill_one() -> None:
        until = time.monotonic() + 200
        while time.monotonic() < until and not killed:
            if list(out.glob("cells/*.parquet")):
                busy = [
                    p for p in psutil.Process().children(recursive=True) if "ray::_in_folder" in " ".join(p.cmdline())
                ]
                if busy:
                    busy[0].kill()
                    killed.append(busy[0].pid)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    done = execute(plan_of(tiny), out, Workers("ray", 2), "cpu", quiet=True)
    killer.join()
    assert killed and done.failed == ()
    same(out, undisturbed)


def test_a_slurm_array_runs_every_shard_once(tmp_path: Path) -> None:
    plan = tmp_path / "my plan.toml"
    script = array_script(plan, tmp_path / "out", 3, hours=1.5, cpus=2, memory="8G", gpus=1)
    assert (
        script.startswith("#!/bin/bash\n")
        and "#SBATCH --array=1-3\n" in script
        and "#SBATCH --time=01:30:00\n" in script
    )
    assert "#SBATCH --gres=gpu:1\n" in script and "--job-name=my-plan\n" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    said = script.replace("exec ", "printf '%s\\n' ")
    done = subprocess.run(["bash"], input=said, text=True, capture_output=True, env={"SLURM_ARRAY_TASK_ID": "2"})
    words = done.stdout.splitlines()
    assert words[1:4] == [str(ROOT / "cli.py"), "bench", str(plan)] and words[-2:] == ["--shard", "2/3"]
    for bad in ({"jobs": 0}, {"memory": "a lot"}, {"hours": 0}):
        with pytest.raises(BadRequest):
            array_script(plan, tmp_path, **{"jobs": 1} | bad)


def test_workers_that_make_no_sense_are_refused() -> None:
    for bad in ({"executor": "dask"}, {"count": 0}, {"shard": Shard(1, 2), "count": 2}, {"address": "here:1"}):
        with pytest.raises(BadRequest):
            Workers(**bad)


@pytest.mark.parametrize("shard", [None, Shard(1, 2)])
def test_a_ladder_without_a_model_that_is_here_is_refused(tiny: World, tmp_path: Path, shard: Shard | None) -> None:
    ladder = tmp_path / "away.toml"
    ladder.write_text(f'title = "t"\n[[rung]]\nname = "a"\nmodel = "{tmp_path}/a"\noptional = true\n')
    plan = replace(plan_of(tiny), ladder=str(ladder))
    for workers in (Workers(shard=shard), Workers(count=2)):
        with pytest.raises(BadData, match=r"optional rung a left out: model .*; no other rung was chosen"):
            execute(plan, tmp_path / "run", workers, "cpu", quiet=True)
    assert not (tmp_path / "run").exists()
