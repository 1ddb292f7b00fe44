"""Faults that must not lose or corrupt anything: kills, shared folders, full and read-only disks, broken models, newer
folders."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks.grown import RungSpec, grow
from benchmarks.grown.train import Recipe
from benchmarks.models import load_model
from benchmarks.sweep.planning.plan import Edits, Plan
from benchmarks.sweep.runner import run_bench
from benchmarks.sweep.status import status
from benchmarks.sweep.store import RunStore
from editing.errors import BadData, BadModel
from tests.benchmarks.forks import fork
from tests.benchmarks.sweep.test_search import plan_of, searched_run
from tests.benchmarks.tiny import World, world
from tests.tiers import fast_are
from valley.rows.schema import VOLATILE, RowsError, read_run

pytestmark = [
    pytest.mark.usefixtures("own_cache"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
]


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run by halving."""
    return searched_run(tmp_path_factory.mktemp("runs"))


def bench(plan: Plan, out: Path):
    return run_bench(plan, out, "cpu", quiet=True)


def same_tables(left: Path, right: Path) -> None:
    one, other = (read_run(folder).drop(columns=list(VOLATILE)) for folder in (left, right))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert not list(left.glob("cells/.*")) and not list(left.glob(".run.json.*"))


def kill_at_random(plan: Plan, reference: Path, folder: Path, times: int) -> None:
    """`times` kills; a run that outlives its kill is compared and begun anew."""
    bench(plan, folder / "cached")
    began = time.monotonic()
    bench(plan, folder / "timed")
    seconds = time.monotonic() - began
    draw = random.Random(times)
    attempt = killed = 0
    while killed < times:
        out = folder / f"run-{attempt}"
        child = fork(lambda out=out: bench(plan, out), folder / "log")
        time.sleep(draw.uniform(0, seconds))
        child.kill()
        code = child.wait()
        assert code in (0, -signal.SIGKILL), child.log.read_text()
        killed += code != 0
        if code == 0:
            same_tables(out, reference)
            attempt += 1
    out = folder / f"run-{attempt}"
    assert bench(plan, out).failed == ()
    same_tables(out, reference)


@pytest.mark.slow
def test_three_kills_at_random_times_then_the_same_table(tiny: World, undisturbed, tmp_path: Path) -> None:
    kill_at_random(plan_of(tiny), undisturbed, tmp_path, 3)


@pytest.mark.slow
def test_fifty_kills_at_random_times_then_the_same_table(tiny: World, undisturbed, tmp_path: Path) -> None:
    kill_at_random(plan_of(tiny), undisturbed, tmp_path, 50)


@pytest.mark.slow  # test_runner.py has two processes on a grid
def test_two_processes_on_one_folder_end_in_the_same_table(tiny: World, undisturbed, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    pair = [fork(lambda: bench(plan_of(tiny), out), tmp_path / f"log-{i}") for i in range(2)]
    assert [child.wait() for child in pair] == [0, 0], [child.log.read_text() for child in pair]
    same_tables(out, undisturbed)


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_with_one_line_and_the_next_run_goes_on(
    tiny: World, undisturbed, tmp_path: Path
) -> None:
    if not hasattr(resource, "prlimit"):
        pytest.skip("the limit of another process can only be set on Linux")
    out = tmp_path / "full"
    child = fork(lambda: bench(plan_of(tiny), out), tmp_path / "log")
    while not list(out.glob("cells/*.parquet")):
        time.sleep(0.002)
    child.kill(signal.SIGSTOP)
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    child.kill(signal.SIGCONT)
    assert child.wait() == 1
    first = child.log.read_text().splitlines()[0]
    assert first.startswith("BadData: ") and "free space" in first
    assert read_run(out)["error"].eq("").all()
    assert bench(plan_of(tiny), out).kept > 0
    same_tables(out, undisturbed)


def test_results_that_cannot_be_written_are_refused_before_any_work(tiny: World, tmp_path: Path) -> None:
    """Root may write anywhere, so the child becomes nobody."""
    folder = Path(tempfile.mkdtemp(prefix="read-only-"))  # outside of tmp_path, which others may not enter
    try:
        (folder / "run").mkdir()
        (folder / "run").chmod(0o555)
        folder.chmod(0o555)

        def work() -> None:
            if os.geteuid() == 0:
                os.setuid(65534)
            RunStore(folder / "run", {}, {}, {})

        child = fork(work, tmp_path / "log")
        assert child.wait() == 1
        assert "cannot write results there" in child.log.read_text().splitlines()[0]
        assert not list((folder / "run").iterdir())
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_of_a_newer_version_is_refused_and_left_alone(tiny: World, undisturbed, tmp_path: Path) -> None:
    out = tmp_path / "newer"
    shutil.copytree(undisturbed, out)
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"schema": 99}))
    before = {file.name: file.stat().st_mtime_ns for file in (out / "cells").iterdir()}
    with pytest.raises(BadData, match="newer version"):
        bench(plan_of(tiny), out)
    assert {file.name: file.stat().st_mtime_ns for file in (out / "cells").iterdir()} == before
    file = next((out / "cells").iterdir())
    pd.read_parquet(file).assign(schema_version=99).to_parquet(file)
    with pytest.raises(RowsError, match="newer version"):
        read_run(out)


def test_a_plan_that_was_changed_is_not_run_into_its_old_folder(tiny: World, undisturbed, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"pareto False, not True"):
        bench(replace(plan_of(tiny), pareto=True), undisturbed)


@pytest.mark.parametrize("damage", fast_are(["not a number"], ["cut", "not a number"]))
def test_a_broken_model_is_error_rows_and_the_other_rung_is_measured(damage: str, tiny: World, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny.model, broken)
    weights = broken / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    else:
        lm = load_model(str(broken), device="cpu")
        with torch.no_grad():
            lm.module.get_output_embeddings().weight[5] = float("nan")
        lm.module.save_pretrained(broken)
    ladder = tiny.write_ladder(f"broken {damage}", broken=str(broken), two=tiny.model)
    few = (Edits("fact", f"fact_file:{tiny.facts}", 2),)
    plan = replace(plan_of(tiny), ladder=ladder, methods=("rome",), search="grid", edits=few, split=None)
    outcome = bench(plan, tmp_path / "run")
    rows = read_run(tmp_path / "run")
    bad = rows[rows["rung"] == "broken"]
    assert len(outcome.failed) == 4 and bad["error"].ne("").all() and bad["value"].isna().all()
    assert bad["error"].str.contains("not finite" if damage == "not a number" else "broken").all()
    assert rows.loc[rows["rung"] == "two", "error"].eq("").all()
    counted = run_bench(plan, tmp_path / "run", "cpu", quiet=True, retry=False)
    assert counted.failed == outcome.failed and (counted.ran, counted.kept) == (0, 4)
    shutil.rmtree(broken)
    shutil.copytree(tiny.model, broken)
    assert bench(plan, tmp_path / "run").failed == () and read_run(tmp_path / "run")["error"].eq("").all()


def test_one_flipped_bit_in_a_model_trained_here_is_noticed(tmp_path: Path) -> None:
    spec = RungSpec("gpt2", 1, 32, countries=8, recipe=Recipe(tokens=10_000, batch=512))
    folder = grow(spec, cache=tmp_path, progress=False)
    assert load_model(str(folder), device="cpu").n_layers == 1
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-100] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(BadModel, match="damaged"):
        load_model(str(folder), device="cpu")


def test_a_full_run_leaves_no_other_file_behind(undisturbed) -> None:
    assert sorted(file.name for file in undisturbed.iterdir()) == [".locks", "cells", "plan.toml", "run.json"]


@pytest.mark.parametrize("search", ["grid", "halving"])
def test_a_model_that_comes_late_leaves_no_failed_cell(tiny: World, tmp_path: Path, search: str) -> None:
    """The layers of a search over all of them are not known before; nor while the model is away again."""
    ladder = tiny.write_ladder(f"late-{search}", late=str(tmp_path / "late"))
    axes = (("site", ("mlp",)), ("lookup", ("subject_last",)), ("steps", (2,)), ("depth", ("all",)))
    plan = replace(plan_of(tiny), ladder=ladder, methods=("rome",), axes=(("rome", axes),), search=search)
    for _ in range(2):
        assert len(bench(plan, tmp_path / "run").failed) == 1
        (tmp_path / "late").symlink_to(tiny.model)
        assert bench(plan, tmp_path / "run").failed == ()
        state = status(tmp_path / "run")
        assert (state.failed, state.done) == (0, state.expected)
        assert (read_run(tmp_path / "run")["error"] == "").all()
        (tmp_path / "late").unlink()
