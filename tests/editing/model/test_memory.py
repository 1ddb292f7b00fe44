"""Memory is planned before the work: what does not fit is done in more passes or shorter batches, or refused in one
line."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from benchmarks.measure.opening import planned
from editing.errors import OutOfMemory
from editing.eval import continuation_logprobs
from editing.methods import make_method
from editing.model.language_model import LanguageModel
from editing.model.memory import MemoryPlan, covariance_groups, format_plan, free_memory, largest_scale, plan_memory
from editing.stats.statistics import ModelStatistics
from editing.text.requests import EditRequest
from tests.editing.families import SENTENCES, tiny_lm

ROOT = Path(__file__).resolve().parents[3]
MIB = 2**20


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_lm("gpt2")


def test_what_is_free_is_asked_of_the_machine() -> None:
    assert 10 * MIB < free_memory(torch.device("cpu")) < 2**50


def test_a_slurm_job_plans_with_the_memory_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, used = free_memory(torch.device("cpu")), psutil.Process().memory_info().rss // MIB
    for megabytes, free in ((used + 50, 50 * MIB), (1, 0)):
        monkeypatch.setenv("SLURM_MEM_PER_NODE", str(megabytes))
        assert free_memory(torch.device("cpu")) == pytest.approx(free, abs=20 * MIB)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")  # --mem=0: all of the node
    assert free_memory(torch.device("cpu")) > 0.5 * whole


def test_sites_that_do_not_fit_together_are_done_in_several_passes(lm: LanguageModel, tmp_path: Path) -> None:
    sites = lm.sites()[:4]
    one = 36 * sites[0].d_in ** 2  # sums of two halves, their finishing, the product of a batch
    assert [len(g) for g in covariance_groups(sites, 100 * one)] == [4]
    assert [len(g) for g in covariance_groups(sites, int(1.6 * one))] == [2, 2]
    assert [len(g) for g in covariance_groups(sites, one)] == [1, 1, 1, 1]
    assert [s for (s,) in covariance_groups(sites[::-1], one)] == list(sites), "in order of their layers"
    calls: list[list[str]] = [[], []]
    short = lm.with_batches(1 / 16)  # so that both halves of the corpus have a batch
    whole, tight = (
        ModelStatistics(
            short,
            tmp_path / str(i),
            "samples:700",
            memory=lambda n=n: n,
            progress=lambda *a, i=i: calls[i].append(a[0]),
        )
        for i, n in enumerate((2**40, int(1.2 * one)))
    )
    for statistics in (whole, tight):
        statistics.prepare(sites)
    batches, in_passes = (c.count("covariance") for c in calls)
    assert batches > 1 and in_passes == 4 * batches
    for site in sites:
        assert torch.equal(whole.covariance(site).matrix, tight.covariance(site).matrix)
        assert whole.covariance(site).error == tight.covariance(site).error
    with pytest.raises(OutOfMemory, match="choose a narrower site, corpus identity, or free memory"):
        ModelStatistics(lm, tmp_path / "none", "samples:400", memory=lambda: one // 2).prepare(sites)


def test_batches_shrink_until_the_plan_fits(lm: LanguageModel) -> None:
    ample = plan_memory(lm, lm.sites()[:2], free=2**40)
    assert ample.batch_scale == 1 and ample.passes == 1 and ample.peak < 2**40
    tight = plan_memory(lm, lm.sites()[:2], free=ample.peak // 3)
    assert tight.batch_scale < 0.5 and tight.peak <= ample.peak // 3
    for free in (1000, ample.peak // 1000):
        with pytest.raises(OutOfMemory, match="free") as error:
            plan_memory(lm, lm.sites()[:2], free=free)
        assert "\n" not in str(error.value)
    assert plan_memory(lm, lm.sites()[:2], covariance=False, free=2**40).parts["covariances"] == 0
    assert plan_memory(lm, lm.sites()[:2], half=True, free=2**40).half == 2 * lm.n_parameters


class OnGpu(LanguageModel):
    """A model that says it is on a GPU."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda")


def test_batches_grow_to_the_memory_of_a_gpu(lm: LanguageModel) -> None:
    there = OnGpu(lm.module, lm.tokenizer)
    scales = [largest_scale(there, free) for free in (2**20, 2**28, 2**30, 2**40)]
    assert scales == sorted(scales) and scales[0] == 1 and scales[-1] == 64 and len(set(scales)) > 2
    assert largest_scale(lm, 2**40) == 1  # larger batches gain nothing on a CPU
    ample = plan_memory(there, lm.sites()[:2], free=2**40, host_free=2**40)
    assert ample.batch_scale == 64 and ample.peak < 2**40
    tight = plan_memory(there, lm.sites()[:2], free=ample.peak // 3, host_free=2**40)
    assert 1 <= tight.batch_scale < 64


def test_a_wide_site_of_a_gpu_waits_in_main_memory(lm: LanguageModel) -> None:
    site = replace(lm.sites()[0], d_in=14336)
    with pytest.raises(OutOfMemory, match="covariance of 14336 inputs takes"):
        covariance_groups([site], 80 * 2**30, 4 * 2**30)
    assert covariance_groups([site], 2**30, 8 * 2**30) == [[site]]


def test_shorter_batches_give_the_same_numbers(lm: LanguageModel) -> None:
    short = lm.with_batches(1 / 64)
    assert short.batch_tokens(4096) == 64 and lm.batch_tokens(4096) == 4096 and lm.with_batches(1.0) is lm
    assert short.weight_hash == lm.weight_hash and short.half.batch_scale == 1 / 64
    questions = [
        continuation_logprobs(m, SENTENCES, [(" cheese", " the old town")] * len(SENTENCES)) for m in (lm, short)
    ]
    np.testing.assert_allclose(questions[0], questions[1], atol=1e-5)


def test_one_line_says_it_all() -> None:
    parts = {"covariances": 2**30, "factors": 0, "v*": 2**29, "evaluation": 2**28}
    plan = MemoryPlan(2**31, 2**30, parts, 3 * 2**30, 64 * 2**30, 2**30, 16 * 2**30, 3, 0.5)
    assert format_plan(plan) == (
        "memory: weights 2.00 GiB, bfloat16 copy 1.00 GiB, covariances 1.00 GiB in 3 passes, v* 0.50 GiB, "
        "evaluation 0.25 GiB; at most 3.00 GiB of 64 GiB free (main memory 1.00 GiB of 16 GiB); batches of 2048 tokens"
    )


@pytest.mark.parametrize("method", ["rome", "memit", "embedding", "ft_l", "ike"])
def test_every_method_is_planned(lm: LanguageModel, method: str) -> None:
    request = EditRequest("a", ("The capital of {} is",), "France", ("Rome",))
    same, plan = planned(lm, [make_method(method)], [request])
    assert same is lm and plan.parts["evaluation"] > 0
    assert (plan.parts["covariances"] > 0) == make_method(method).uses_covariance


GROWTH = """
import torch
from editing.stats.covariance import covariances
from editing.model.memory import plan_memory
from tests.editing.families import tiny_lm
lm = tiny_lm("gpt2", n_inner=2500)
sites = lm.sites()
lm.encode("a"), lm.module(torch.tensor([[1, 2]]))
# Not ru_maxrss, which begins with what the parent had and hides what is smaller.
peak = lambda: int(next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1]) * 1024
before = peak()
covariances(lm, [[i % 400 for i in range(64)]] * 40, sites, batch_tokens=256)
print(plan_memory(lm, sites).parts["covariances"], peak() - before)
"""


@pytest.mark.slow  # a system short of memory takes pages away, and the growth is not seen
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_the_estimate_is_within_a_factor_of_two() -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH], cwd=ROOT, capture_output=True, text=True, check=True)
    estimate, grown = map(int, done.stdout.split())
    assert grown > 300 * MIB and 0.5 < estimate / grown < 2
