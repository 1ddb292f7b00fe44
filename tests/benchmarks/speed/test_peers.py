"""EasyEdit's own code and ours, on the same texts and covariances, make the same edits of a small model."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.speed.peers import make_job, run_peer
from editing.delta.changes import LowRank
from editing.delta.delta import Delta
from editing.errors import BadData, BadRequest
from editing.methods import checkout, make_method
from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics
from editing.text.requests import EditRequest
from tests.editing.families import random_module, tokenizer

REQUESTS = (
    EditRequest("fact", ("The capital of {} is the city of",), "New Zealand", ("Madrid",)),
    EditRequest("start", ("{} comes from",), "Brie", ("Italy and Rome",)),
)
ROME = {"preset": "published", "depth": 0.6, "short_prefixes": 2, "long_prefixes": 2, "steps": 6, "weight_decay": 0.002}
MEMIT = {"preset": "published", "depth": 0.6, "span": 0.5, "prefixes": 2, "steps": 6, "weight_decay": 0.002}
needs_peer = pytest.mark.skipif(
    not os.environ.get("EASYEDIT_HOME"), reason="EASYEDIT_HOME names no checkout of EasyEdit"
)


@pytest.fixture(params=["gpt2", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A random model of four blocks on disk."""
    module = random_module(request.param, len(tokenizer()), spread=0.1)
    module.save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def opened(folder: Path) -> LanguageModel:
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return LanguageModel.wrap(module, tokenizer(), name="tiny")


def dense(delta: Delta, weight: str) -> torch.Tensor:
    factor = delta.factors[weight]
    assert isinstance(factor, LowRank)
    return factor.dense()


@needs_peer
@pytest.mark.parametrize(("name", "settings"), [("rome", ROME), ("memit", MEMIT)])
def test_the_peer_makes_the_same_edits(name: str, settings: dict, folder: Path, tmp_path: Path) -> None:
    lm = opened(folder)
    for corpus in ("identity", "samples:800"):
        statistics = ModelStatistics(lm, tmp_path / "cache", corpus)
        method = make_method(name, **settings)
        peer = run_peer(make_job(lm, folder, method, REQUESTS, statistics, tmp_path))
        for ours, theirs, record in zip(
            method.each(lm, REQUESTS, statistics), peer["deltas"], peer["requests"], strict=True
        ):
            assert record["restored"] and record["cpu_seconds"] > 0 and record["wall_seconds"] > 0
            assert ours.weights == theirs.weights
            for weight in ours.weights:
                a, b = dense(ours, weight), dense(theirs, weight)
                assert float((a - b).norm() / b.norm()) < 1e-3, (corpus, weight)
        assert peer["contexts"][0] in ("{}", ["{}"])


@needs_peer
def test_the_peer_draws_its_own_texts_when_it_is_given_none(folder: Path, tmp_path: Path) -> None:
    lm = opened(folder)
    statistics = ModelStatistics(lm, tmp_path / "cache", "identity")
    job = make_job(lm, folder, make_method("rome", **ROME), REQUESTS[:1], statistics, tmp_path, same_prefix=False)
    peer = run_peer(job | {"prefixes": None, "steps": 2})
    assert len(peer["contexts"]) == 21 and peer["contexts"][0] == "{}" and peer["contexts"] != job["prefixes"]
    assert peer["requests"][0]["restored"] and peer["prepare_cpu_seconds"] > 0


@needs_peer
def test_what_the_peer_cannot_is_one_line(folder: Path, tmp_path: Path) -> None:
    lm = opened(folder)
    statistics = ModelStatistics(lm, tmp_path / "cache", "identity")
    job = make_job(lm, folder, make_method("rome", **ROME), REQUESTS, statistics, tmp_path)
    with pytest.raises(BadData, match="failed") as caught:
        run_peer(job | {"lookup": "middle"})
    assert "\n" not in str(caught.value) and "fact_token=middle" in str(caught.value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EASYEDIT_PYTHON", str(tmp_path / "nothing"))
        with pytest.raises(BadData, match="EASYEDIT_PYTHON"):
            run_peer(job)


def test_jobs_the_peer_has_no_way_to_do(folder: Path, tmp_path: Path) -> None:
    lm = opened(folder)
    statistics = ModelStatistics(lm, tmp_path / "cache", "identity")

    def job(method: str = "rome", requests: tuple[EditRequest, ...] = REQUESTS, **settings: object) -> dict:
        return make_job(lm, folder, make_method(method, **settings), requests, statistics, tmp_path)

    with pytest.raises(BadRequest, match="rome, memit"):
        job("emmet")
    with pytest.raises(BadRequest, match="site mlp"):
        job(site="value")
    with pytest.raises(BadRequest, match="several prompts"):
        job(requests=(EditRequest("two", ("{} is", "{} was"), "Brie", ("red",)),))
    with pytest.raises(BadRequest, match="different layers"):
        job(requests=(REQUESTS[0], replace(REQUESTS[1], lookup="last")))
    made = job(depth=0.6)
    assert made["layers"] == [2] and made["rewrite_module"].count("{}") == 1 and made["covariances"] is None
    assert made["rewrite_module"].format(2) == lm.sites("mlp")[2].path and made["rewrite_module"].startswith(
        made["block"]
    )


def test_without_a_checkout_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EASYEDIT_HOME", raising=False)
    with pytest.raises(BadData, match="EASYEDIT_HOME: not set"):
        run_peer({"threads": 1})
    monkeypatch.setenv("EASYEDIT_HOME", str(tmp_path))
    with pytest.raises(BadData, match="name a checkout"):
        checkout()
