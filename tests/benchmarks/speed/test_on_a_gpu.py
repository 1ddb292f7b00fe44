"""The engine, a sweep, the readings and the GPU script on a simulated GPU: no operand is on the wrong device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import editing
from benchmarks.grown import train
from benchmarks.ladders import ladder_strength
from benchmarks.readings import make_reading, reading_names, run_readings
from benchmarks.speed.device.checks import FAMILIES, contract, equality, moved, same_as_on_the_cpu
from benchmarks.speed.device.models import AMPLE
from benchmarks.speed.device.record import Deadline
from benchmarks.speed.gpu import parts
from benchmarks.sweep.planning.plan import Edits
from benchmarks.sweep.runner import run_bench
from editing.methods import method_names
from editing.stats import ModelStatistics
from tests.benchmarks.sweep.test_runner import plan_of
from tests.benchmarks.tiny import World, world
from tests.editing.families import tiny_lm
from tests.simulated_gpu import simulated_gpu
from tests.tiers import fast_are
from valley.rows.schema import read_run

pytestmark = pytest.mark.usefixtures("own_cache")
PROMPT = "The capital of {} is the city of"


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    with simulated_gpu() as device:
        yield device


def test_the_pretence_refuses_what_cuda_refuses(gpu: torch.device) -> None:
    there, here = torch.arange(3.0, device="cuda"), torch.arange(3.0)
    weight = torch.nn.Parameter(torch.ones(3, 3).to(gpu))
    (weight @ there).sum().backward()
    assert weight.grad is not None and weight.grad.device == there.device == torch.tensor([1], device=gpu).device == gpu
    assert (there.cpu() + here).tolist() == [0, 2, 4] and here.device.type == "cpu"
    there.view(3, 1)[1:].mul_(10)
    assert there.tolist() == [0, 10, 20] and there[torch.tensor([2])].item() == 20
    for refused in (lambda: there + here, lambda: here[there.long()], lambda: there.copy_(here).numpy()):
        with pytest.raises((RuntimeError, TypeError), match="cuda:0"):
            refused()


@pytest.mark.parametrize("name", fast_are(["alphaedit", "steer"], method_names()))
def test_contract(name: str, gpu: torch.device, tmp_path_factory: pytest.TempPathFactory) -> None:
    lm = moved(tiny_lm("gpt2", spread=0.3), gpu)
    folder = tmp_path_factory.getbasetemp() / "gpu-statistics"
    rows = list(contract(name, lm, ModelStatistics(lm, folder, "samples:800", memory=lambda: AMPLE)))
    assert lm.device == gpu and rows and all(row.ok for row in rows), rows


def test_an_edit_equals_that_of_the_cpu(gpu: torch.device, tmp_path: Path) -> None:
    lm = moved(tiny_lm("gpt2", spread=0.3), gpu)
    texts = ModelStatistics(lm, tmp_path, "samples:800", memory=lambda: AMPLE).sequences()
    (row,) = same_as_on_the_cpu(lm, texts, tmp_path / "cpu")
    assert row.ok, row


def test_each_kind_of_device_keeps_statistics_of_its_own(gpu: torch.device, tmp_path: Path) -> None:
    lm, kept = tiny_lm("gpt2"), []
    for device in (gpu, torch.device("cpu")):
        statistics = ModelStatistics(moved(lm, device), tmp_path, "samples:200", memory=lambda: AMPLE)
        statistics.prefixes({5: 1})
        statistics.keep("network", "key", lambda: {"weight": torch.zeros(1)})
        statistics.prepare(lm.sites()[:1])
        kept.append({path for path in tmp_path.rglob("*") if path.is_file()})
    assert len(kept[0]) == 4 and len(kept[1]) == 8


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_edits_equal_their_references(family: str, gpu: torch.device, tmp_path: Path) -> None:
    rows = list(equality(family, gpu, tmp_path))
    assert len(rows) == 8 and all(row.ok for row in rows), rows


def test_a_sweep_has_the_scores_that_it_has_on_the_cpu(tiny: World, gpu: torch.device, tmp_path: Path) -> None:
    few = (Edits("fact", f"fact_file:{tiny.facts}", 2),)
    quick = {"settings": (("steps", 2),), "probes": 1, "corpus": f"text:{tiny.facts}"}
    plan = replace(plan_of(tiny), ladder=tiny.model, methods=("memit",), edits=few, **quick)
    tables = []
    for device in ("cuda", "cpu"):
        assert run_bench(plan, tmp_path / device, device, quiet=True).failed == ()
        tables.append(read_run(tmp_path / device))
    one, two = tables
    assert len(one) == len(two) and (one["probe"] == two["probe"]).all()
    assert (one["value"].isna() == two["value"].isna()).all() and one["value"].notna().any()
    assert (one["value"] - two["value"]).abs().max() < 0.05


@pytest.mark.parametrize("name", fast_are(["interchange", "lens"], reading_names()))
def test_reading(name: str, tiny: World, gpu: torch.device) -> None:
    read = run_readings(tiny.model, [make_reading(name)], limit=2, device="cuda", say=lambda line: None)
    assert name == "crispness" or len(read.table)


def test_an_edit_from_python(tiny: World, gpu: torch.device) -> None:
    lm = editing.load(tiny.model, device="cuda")
    request = editing.Request(PROMPT, "France", "Rome", lookup="last")
    delta = editing.edit(lm, request, method="rome", fast=True)
    (answer,) = editing.ask(lm, [PROMPT.format("France")], [["Paris", "Rome"]], delta)
    assert lm.device == gpu and answer["Rome"] > answer["Paris"]
    with delta.applied(lm):
        assert lm.generate(PROMPT.format("France"), 1).strip() == "Rome"


@pytest.mark.slow
def test_the_strength_of_a_ladder(tiny: World, gpu: torch.device) -> None:
    assert len(ladder_strength(tiny.ladder, device="cuda", say=lambda line: None).records) == 2


@pytest.mark.slow
def test_the_script(gpu: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "product_dtype", lambda device: torch.float32)  # the pretence has no autocast
    for part in parts(gpu, tiny=True, work=tmp_path)[1:]:  # the first one is large products alone
        rows = list(part.rows(Deadline(600)))
        assert rows and all(row.ok is not False for row in rows), (part.name, rows)
