"""Guards in relative units: each refuses or warns by tokens per dimension, cosines and norms, never by bare numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from editing.errors import BadData, BadModel, BadRequest
from editing.model import EXPERT, LanguageModel, Site
from editing.stats.covariance import Covariance
from editing.stats.guards import (
    FEW_TOKENS,
    LARGE_ERROR,
    LARGE_NORM,
    LEAST_COSINE,
    SMALL_COSINE,
    cosine_warning,
    covariance_warnings,
    norm_warning,
    refuse_few_tokens,
)
from editing.stats.statistics import ModelStatistics
from tests.benchmarks.tiny import tiny_model
from tests.editing.families import random_module, tokenizer

TEXT = "The capital of France is Paris.\nBrie comes from France.\n"


def covariance(tokens: int, width: int = 8, error: float = 0.01) -> Covariance:
    return Covariance(torch.eye(width), tokens, error)


def test_a_corpus_smaller_than_the_keys_is_refused() -> None:
    site = Site("mlp", 0, "a.b", 8, 8, None, False)
    with pytest.raises(BadData, match=r"7 tokens for the 8 dimensions of a.b; .* take a longer text, samples:32"):
        refuse_few_tokens(site, covariance(7), "text:x")
    refuse_few_tokens(site, covariance(8), "text:x")
    refuse_few_tokens(site, covariance(0), "identity")
    with pytest.raises(BadData, match=r"corpus text:x: 0 of its tokens are sent to a.b, whose keys have 8 dimensions"):
        refuse_few_tokens(replace(site, kind=EXPERT), covariance(0), "text:x")


@pytest.mark.parametrize("width", [8, 64])
def test_warnings_go_by_tokens_per_dimension_and_error(width: int) -> None:
    few = covariance_warnings({"a": covariance(3 * width, width)}, "text:x")
    assert len(few) == 1 and "3.0 tokens per dimension" in few[0]
    assert covariance_warnings({"a": covariance(int(FEW_TOKENS) * width, width)}, "text:x") == []
    assert covariance_warnings({"a": covariance(0, width)}, "identity") == []
    (doubtful,) = covariance_warnings({"a": covariance(9 * width, width, LARGE_ERROR + 0.1)}, "text:x")
    assert "relative error of 0.40" in doubtful
    assert covariance_warnings({"a": covariance(9 * width, width, float("nan"))}, "text:x") == []


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_keys_are_judged_by_their_cosine_whatever_their_length(scale: float) -> None:
    assert cosine_warning("r", 2 * SMALL_COSINE * scale, scale) == ""
    assert "is 50 times the smallest one" in cosine_warning("r", -0.02 * scale, scale)
    with pytest.raises(BadRequest, match="request 'r': its key is orthogonal to its own direction"):
        cosine_warning("r", 0.5 * LEAST_COSINE * scale, scale)
    with pytest.raises(BadRequest, match="orthogonal"):
        cosine_warning("r", 0.0, 0.0)


def test_a_change_larger_than_the_weights_is_doubted() -> None:
    assert norm_warning(0.9 * LARGE_NORM) == ""
    assert "3.0 times as large as the weights" in norm_warning(3.0)
    assert norm_warning(float("nan"))


def test_sixteen_tokens_are_refused_where_the_covariance_is_inverted(tmp_path: Path) -> None:
    lm = tiny_model([TEXT])
    path = tmp_path / "tiny.txt"
    path.write_text(TEXT, encoding="utf-8")
    site = lm.sites("mlp")[0]
    short = ModelStatistics(lm, tmp_path / "cache", f"text:{path}")
    assert 0 < short.covariance(site).tokens < site.d_in
    for use in (lambda: short.solve(site, torch.ones(site.d_in, 1)), lambda: short.spectrum(site)):
        with pytest.raises(BadData, match="needs one token per dimension"):
            use()
    assert short.warnings()
    long = ModelStatistics(lm, tmp_path / "cache", "identity")
    long.solve(site, torch.ones(site.d_in, 1))
    assert long.warnings() == []


def test_keys_that_overflow_are_refused_and_not_kept(tmp_path: Path) -> None:
    """Their covariance was kept on disk as NaN, and its factorisation ended in an error of torch."""
    module = random_module("gpt2", len(tokenizer()), n_positions=40, max_position_embeddings=40)
    with torch.no_grad():
        module.transformer.h[1].mlp.c_fc.weight.mul_(1e6)
    lm = LanguageModel.wrap(module.half(), tokenizer(), name="overflowing")
    statistics, site = ModelStatistics(lm, tmp_path, "samples:300"), lm.sites()[1]
    for use in (lambda: statistics.prepare([site]), lambda: statistics.solve(site, torch.ones(site.d_in, 1))):
        with pytest.raises(
            BadModel, match=f"overflowing: keys at {site.path} are not finite numbers; load the model in"
        ):
            use()
    assert not list(tmp_path.rglob(f"{site.path}*"))


def test_a_site_whose_keys_are_all_zero_is_refused(tmp_path: Path) -> None:
    """The activations of a dead MLP: a division by zero before."""
    module = random_module("opt", len(tokenizer()), max_position_embeddings=40)
    with torch.no_grad():
        module.model.decoder.layers[1].fc1.bias.fill_(-1e4)
    lm = LanguageModel.wrap(module, tokenizer())
    statistics, site = ModelStatistics(lm, tmp_path, "samples:300"), lm.sites()[1]
    statistics.prepare(lm.sites()[:2])
    for use in (lambda: statistics.solve(site, torch.ones(site.d_in, 1)), lambda: statistics.spectrum(site)):
        with pytest.raises(BadData, match=f"every key at {site.path} is 0; take another layer or site"):
            use()
