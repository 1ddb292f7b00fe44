"""The GPU script runs on a CPU with models of no size: every part gives its rows, a failing one its error."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks.provenance import ROOT
from benchmarks.speed import gpu
from benchmarks.speed.device.checks import equality
from benchmarks.speed.device.mass import mass
from benchmarks.speed.device.models import Bench, bench_of, facts, grown_lm, places, random_lm, shapes_of
from benchmarks.speed.device.rates import METHODS, fitting, rates
from benchmarks.speed.device.rates import _edits as edits
from benchmarks.speed.device.rates import _evaluation as evaluation
from benchmarks.speed.device.record import Deadline, Part, Row, run
from editing.model import hash_weights
from tests.editing import reference_evaluate, reference_methods

pytestmark = pytest.mark.usefixtures("little_to_search")
CPU = torch.device("cpu")
# What a lent machine may lack: everything but torch, transformers, safetensors, numpy, pandas, click and their needs.
MISSING = ("pyarrow", "duckdb", "pydantic", "psutil", "platformdirs", "scipy", "babel", "accelerate", "pytest")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    lm = random_lm(shapes_of(tiny=True)[0], CPU)
    return bench_of(lm, 1, 6, gpu.TINY_SETTINGS, tmp_path_factory.mktemp("statistics"))


def burn(seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass


@pytest.mark.slow
def test_rates(bench: Bench) -> None:
    before = hash_weights(bench.lm.module)
    rows = list(rates(lambda: bench, (1, 2), Deadline(300)))
    for name in METHODS:
        (row,) = [r for r in rows if r.what == name and r.number == 2]
        assert row.seconds and row.literal and row.ratio and row.unit == "edit"
    (evaluation,) = [r for r in rows if r.what == "evaluation"]
    assert evaluation.ratio and float(evaluation.note.split()[-2]) < 1e-3
    assert any(r.share and 0 < r.share < 1 for r in rows)
    assert hash_weights(bench.lm.module) == before


@pytest.mark.slow
def test_what_does_not_fit_into_the_time_is_named(bench: Bench) -> None:
    rows = list(rates(lambda: bench, (1, 4), Deadline(0.01)))
    assert next(r.note for r in rows if r.what == "memit" and r.number == 4).startswith("left out: needs about")


@pytest.mark.parametrize("name", ["ultraedit", "evaluation"])
def test_the_first_call_of_the_literal_way_is_not_timed(
    name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It chooses kernels on a GPU; ours has had its first call by then."""
    module, function = (reference_methods, name) if name in METHODS else (reference_evaluate, "continuation_logprobs")
    literal, calls = getattr(module, function), []

    def slow_at_first(*arguments: Any) -> Any:
        calls.append(burn(0.0 if calls else 1.0))
        return literal(*arguments)

    monkeypatch.setattr(module, function, slow_at_first)
    rows = edits(bench, name, (1,), Deadline(60)) if name in METHODS else evaluation(bench, 1)
    (row,) = [row for row in rows if row.literal]
    assert len(calls) == 3 and row.literal * (6 if name == "evaluation" else 1) < 0.3


def test_the_literal_way_counts_in_what_a_batch_needs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as much time left as one round of the literal way takes, whatever the machine does beside it."""
    literal, deadline = reference_methods.ultraedit, Deadline(1)
    monkeypatch.setattr(reference_methods, "ultraedit", lambda *arguments: (burn(0.5), literal(*arguments))[1])
    monkeypatch.setattr(deadline, "left", lambda: 0.5)
    *_, first, second = edits(bench, "ultraedit", (1, 2), deadline)
    assert first.ratio and second.note.startswith("left out: needs about 1 s")


def test_long_runs(bench: Bench) -> None:
    before = hash_weights(bench.lm.module)
    rows = list(mass(lambda: bench, 3, 4, Deadline(300)))
    assert [r.number for r in rows if r.number] == [3, 3, 3, 3, 4]
    assert all(r.note == "all" for r in rows if r.number)
    assert hash_weights(bench.lm.module) == before


def test_decompositions_that_are_there_already_do_not_pass_for_fast_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both the rates and the long runs ask how many sites can be decomposed in time, of the same statistics."""
    eigh = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: (burn(0.2), eigh(matrix))[1])
    lm = random_lm(shapes_of(tiny=True)[0], CPU)
    bench = bench_of(lm, 1, 6, gpu.TINY_SETTINGS | {"span": 0.75}, tmp_path)
    for _ in range(2):
        settings, note = fitting(bench, "alphaedit", Deadline(1))
        assert note.endswith("1 of 2 sites edited") and settings == {"span": 0.25}


def test_equality_is_checked_and_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(equality("llama", CPU, tmp_path))
    assert len(rows) == 8 and all(row.ok for row in rows), rows
    monkeypatch.setattr("benchmarks.speed.device.checks.NEAR", 0.0)
    assert not all(row.ok for row in equality("llama", CPU, tmp_path))


def test_a_grown_rung_learns_its_facts() -> None:
    lm = grown_lm(CPU, tiny=True)
    place, capital = places(20)[3]
    prompt = facts(20)[3].filled()[0]
    assert place in prompt and lm.weight_hash == "grown-gpt2-2x32-cpu"
    logits = lm.module(torch.tensor([lm.encode(prompt)])).logits[0, -1]
    first = [lm.tokenizer(f" {c}", add_special_tokens=False)["input_ids"][0] for c in (capital, "the")]
    assert logits[first[0]] > logits[first[1]]


def test_a_failing_part_leaves_its_error_and_the_next_one_runs(tmp_path: Path) -> None:
    def fails(deadline: Deadline) -> Iterator[Row]:
        yield Row("before")
        raise RuntimeError("CUDA error:\nan illegal access")

    def endless(deadline: Deadline) -> Iterator[Row]:
        while True:
            yield Row("again", ok=True)

    about = {
        "device": "CPU",
        "shapes": "tiny",
        "seconds are": "CPU",
        "commit": "0" * 12,
        "versions": {"torch": "2", "transformers": "5"},
    }
    parts = [Part("first", 5, fails), Part("second", 0.05, endless), Part("third", 5, fails)]
    run(parts, about, tmp_path, 100)
    first, second, third = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert first["error"] == "RuntimeError: CUDA error: an illegal access" and "Traceback" in first["traceback"]
    assert [row["what"] for row in first["rows"]] == ["before"] == [row["what"] for row in third["rows"]]
    assert second["error"].startswith("cut off") and second["rows"]
    table = (tmp_path / "README.md").read_text()
    assert "| before |" in table and "illegal access" in table and "holds" in table


def test_checks_that_hold_are_one_line_a_subject_and_a_failure_its_own(tmp_path: Path) -> None:
    def checks(deadline: Deadline) -> Iterator[Row]:
        yield Row("rome: reverts", ok=True)
        yield Row("rome: same seed", ok=True, note="bit for bit")
        yield Row("rome: independent", ok=False, note="distance 1")
        yield Row("memit: reverts", ok=True)

    about = {"device": "CPU", "shapes": "tiny", "seconds are": "CPU", "commit": "0" * 12}
    run([Part("checks", 5, checks)], about | {"versions": {"torch": "2", "transformers": "5"}}, tmp_path, 100)
    lines = [line for line in (tmp_path / "README.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert [line.replace("|  ", "").strip("| ") for line in lines] == [
        "rome | holds; reverts; same seed (bit for bit)",
        "rome: independent | FAILS; distance 1",
        "memit: reverts | holds",
    ]


def test_the_command_ends_in_time_and_says_what_it_left_out(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        gpu.main, ["--out", str(tmp_path), "--shapes", "tiny", "--device", "cpu", "--seconds", "1"]
    )
    assert done.exit_code == 0, done.output
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert len(parts) == 6 and all(part["rows"] or part["error"] for part in parts)
    assert parts[-1]["error"].startswith("left out")


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    for device, why in (("gpu", "not a torch device"), ("cuda:99", "PyTorch sees")):
        done = CliRunner().invoke(gpu.main, ["--out", str(tmp_path), "--shapes", "tiny", "--device", device])
        assert done.exit_code == 2 and device in done.output and why in done.output


def test_the_largest_model_is_gone_before_the_others_come(tmp_path: Path) -> None:
    of_model = [part for part in gpu.parts(CPU, True, tmp_path) if "the shape of tiny-llama" in part.name]
    alive = []
    for part in of_model:
        rows = part.rows(Deadline(300))
        next(rows)
        rows.close()  # as where it is cut off
        del rows
        gc.collect()
        alive.append(sum(isinstance(one, Bench) and "tiny-llama" in one.lm.name for one in gc.get_objects()))
    assert len(of_model) == 2 and alive == [1, 0]


HIDDEN = f"import sys; sys.modules.update(dict.fromkeys({MISSING}))"


def test_nothing_else_need_be_installed() -> None:
    """Neither for the script nor for the literal references, which its parts import when they run."""
    modules = "reference, reference_evaluate, reference_methods, families, worked"
    script = f"{HIDDEN}; import benchmarks.speed.gpu; from tests.editing import {modules}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_every_part_runs_where_nothing_else_is_installed(tmp_path: Path) -> None:
    arguments = ["gpu", "--out", str(tmp_path), "--shapes", "tiny", "--device", "cpu"]
    script = f"{HIDDEN}; sys.argv = {arguments}; from benchmarks.speed import gpu; gpu.main()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for part in json.loads((tmp_path / "gpu.json").read_text())["parts"]:
        assert not part["error"] and all(row["ok"] is not False for row in part["rows"]), part
