"""A real SLURM of one node runs the array that `slurm` writes: the same table, also when jobs are requeued, cancelled
and sent again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.sweep.planning.plan_file import load_plan
from benchmarks.sweep.runner import run_bench
from benchmarks.sweep.status import status
from tests.benchmarks.commands.test_cli import call
from tests.benchmarks.sweep.executors.slurm_cluster import INSTALL, Cluster, await_that, cluster, lacking
from tests.benchmarks.sweep.executors.test_executors import same
from tests.benchmarks.tiny import world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(lacking()), reason=f"no {', '.join(lacking())}; to have a SLURM here: {INSTALL}"),
    pytest.mark.usefixtures("own_cache"),
]
PATIENCE = 600.0  # seconds; jobs take far less, save on a busy machine


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made
    await_that(lambda: not made.processes(), 20, "the end of every process of the cluster")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny = world()
    path = tmp_path_factory.mktemp("plans") / "a plan.toml"
    path.write_text(
        f"""
        title = "small"
        ladder = "{tiny.ladder}"
        corpus = "samples:500"
        split = {{ dev = 0.5 }}
        search = "halving"
        [[edits]]
        kind = "fact"
        dataset = "fact_file:{tiny.facts}"
        limit = 6
        [methods.rome]
        site = "mlp"
        lookup = ["subject_last", "last"]
        depth = [0.1, 0.6]
        steps = 6
        [methods.placebo]
        """
    )
    return path


@pytest.fixture(scope="module")
def serial(plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "serial"
    run_bench(load_plan(plan), out, "cpu", quiet=True)
    return out


def cells(out: Path) -> int:
    return len(list(out.glob("cells/*.parquet")))


def measured(out: Path, rung: str) -> bool:
    """Whether some cell of a rung is in a run folder."""
    return any(pd.read_parquet(file, columns=["rung"])["rung"].eq(rung).any() for file in out.glob("cells/*.parquet"))


def submit(slurm: Cluster, plan: Path, out: Path, jobs: int, memory: str) -> str:
    script = call("slurm", plan, "--jobs", jobs, "--out", out, "--cpus", 1, "--memory", memory, "--hours", 1.5).stdout
    return slurm.ask("sbatch", "--parsable", f"--chdir={out.parent}", stdin=script).strip()


def log_of(out: Path, job: str) -> list[str]:
    """What each task of an array has written, in order."""
    return [file.read_text() for file in sorted(out.parent.glob(f"a-plan-{job}_*.log"))]


def test_an_array_runs_every_cell_once(slurm: Cluster, plan: Path, serial: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    job = submit(slurm, plan, out, 3, "1G")  # of two rungs, each searched as a whole: the third finds nothing to do
    tasks = slurm.finish(job, PATIENCE)
    logs = log_of(out, job)
    questions = {
        (task["JobState"], task["ExitCode"], task["TimeLimit"], task["MinMemoryNode"]) for task in tasks.values()
    }
    assert questions == {("COMPLETED", "0:0", "01:30:00", "1G")}, logs
    same(out, serial)
    ran = [int(n) for log in logs for n in re.findall(r"cells: (\d+) run, 0 were there, 0 failed", log)]
    assert sum(ran) == cells(out) == cells(serial) and min(ran[:2]) > 0 and ran[2:] == [0]
    assert status(out).left == 0
    free = [float(gib) for log in logs for gib in re.findall(r"of ([\d.]+) GiB free", log)]
    assert len(free) == 2 and max(free) < 1  # of the job, not of the node


def test_jobs_requeued_and_cancelled_in_the_middle_end_in_the_same_table(
    slurm: Cluster, plan: Path, serial: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    job = submit(slurm, plan, out, 2, "3G")  # most of the node: one task at a time
    await_that(lambda: measured(out, "one"), PATIENCE, "a cell of the first task")
    slurm.ask("scontrol", "requeue", f"{job}_1")
    await_that(lambda: measured(out, "two"), PATIENCE, "a cell of the second task")
    slurm.ask("scancel", f"{job}_2")
    tasks = slurm.finish(job, PATIENCE)
    result = {number: (task["JobState"], task["Restarts"]) for number, task in tasks.items()}
    assert result == {"1": ("COMPLETED", "1"), "2": ("CANCELLED", "0")}, log_of(out, job)
    assert 0 < cells(out) < cells(serial)

    again = submit(slurm, plan, out, 2, "1G")
    assert {task["JobState"] for task in slurm.finish(again, PATIENCE).values()} == {"COMPLETED"}, log_of(out, again)
    same(out, serial)
    assert cells(out) == cells(serial) and "cells: 0 run" in log_of(out, again)[0]
    first = log_of(out, job)[0]
    assert "REQUEUE" in first and "were there, 0 failed" in first  # the log has what both attempts said
