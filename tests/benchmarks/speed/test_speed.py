"""The speed benchmark measures what it says, on a small model, and its slow side is right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.speed import report as speed
from benchmarks.speed.stages import Bench, evaluation, facts, memit_values, rome_edits, rome_values
from benchmarks.speed.stopwatch import compare, matmul_peak, peak_memory, timed
from editing.delta.delta import Delta, LowRank
from editing.eval import continuation_logprobs
from editing.stats.covariance import covariances
from editing.stats.statistics import ModelStatistics
from tests.editing import reference_evaluate
from tests.editing.families import SENTENCES, tiny_lm

pytestmark = pytest.mark.usefixtures("little_to_search")
CPU = torch.device("cpu")


def burn(rounds: int) -> int:
    return sum(i * i for i in range(20_000 * rounds))


def test_a_ratio_is_slow_over_fast_in_turns() -> None:
    order = []
    note = lambda a, b: str(a == b)  # noqa: E731
    quick = {"burning": lambda: (order.append("fast"), burn(6))[1]}
    slow = lambda: (order.append("slow"), burn(60))[1]  # noqa: E731
    (row,) = compare("round", slow, quick, device=CPU, rounds=2, units=1, note=note)
    assert order == ["slow", "fast"] * 2
    assert row.low <= row.ratio <= row.high and 2 < row.ratio < 50  # ten times the work
    assert row.slow == pytest.approx(row.fast * row.ratio, rel=0.5) and row.note == "False"


@pytest.mark.slow
def test_peaks() -> None:
    assert timed(CPU, lambda: burn(20))[0] > 0
    peak = peak_memory(CPU, lambda: torch.ones(64, 2**20).sum())
    assert peak is None or peak > 100 * 2**20
    assert matmul_peak(CPU, torch.float32, size=256) > 1e8


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_slow_evaluation_and_covariance_are_right(family: str) -> None:
    lm = tiny_lm(family)
    site, draw = lm.sites("mlp")[1], torch.Generator().manual_seed(0)
    deltas = [
        Delta(
            {
                site.weight: LowRank(
                    torch.randn(site.d_out, 1, generator=draw), torch.randn(site.d_in, 1, generator=draw)
                )
            }
        )
        for _ in range(2)
    ]
    prompts, answers = ["The capital of France is", "I like"] * 2, [["Paris", "Rome and more"], ["tea"]] * 2
    rows = [0, 0, 1, 1]
    slow = reference_evaluate.continuation_logprobs(lm, prompts, answers, deltas, rows)
    fast = continuation_logprobs(lm, prompts, answers, deltas, rows)
    assert all(np.allclose(a, b, rtol=1e-4, atol=1e-3) for a, b in zip(slow, fast, strict=True))
    assert not np.allclose(slow[0], slow[2])
    sequences = [lm.encode(s) for s in SENTENCES]
    result = covariances(lm, sequences, [site])[site.path].matrix
    assert torch.allclose(reference_evaluate.covariance(lm, sequences, site, batch=3), result, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_stages_compare_equal_work(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    requests = tuple(c.request for c in facts(2))
    bench = Bench(lm, ModelStatistics(lm, tmp_path, "samples:400"), requests, 2, 1)
    edit = next(iter(rome_edits(bench)))
    assert edit.stage == "ROME edit, float32, same settings" and edit.slow > 0 and edit.fast > 0
    assert "cosine of the updates 1.00000, smallest 1.00000" in edit.note
    for stage in (rome_values, memit_values):
        assert "1.00000, smallest 1.00000" in next(iter(stage(bench))).note
    (probes,) = evaluation(bench, edits=3, probes=4)
    assert "same choice 100.0%" in probes.note


def test_the_command_writes_tables_and_refuses_unknown_stages(tmp_path: Path) -> None:
    done = CliRunner().invoke(speed.main, ["--stages", "nothing", "--out", str(tmp_path)])
    assert done.exit_code == 2 and "unknown stage 'nothing'; use one or more of keys, solves" in done.output
    record = {
        "model": "m", "parameters": 1e6, "layers": 2, "device": "d", "requests": 1, "seconds are": "CPU",
        "versions": {"torch": "2"}, "ratios": [],
    }  # fmt: skip
    speed._write(tmp_path, record)
    assert json.loads((tmp_path / "speed.json").read_text()) == record
    assert (tmp_path / "README.md").read_text().startswith("# Speed")
    about = {"model": "m", "device": "d", "requests": 2}
    assert speed._continued(tmp_path, about) == record | about  # stages may be measured in several goes
    assert speed._continued(tmp_path, about | {"model": "n"}) == about | {"model": "n", "ratios": []}
