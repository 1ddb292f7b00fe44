"""The corpus error:E: as many samples as the error needs, the same whatever else is prepared, and honest about its
limit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing.errors import BadRequest
from editing.model.language_model import LanguageModel
from editing.stats import error_corpus
from editing.stats.corpus import check_corpus
from editing.stats.covariance import covariances
from editing.stats.error_corpus import ROUND, covariances_to_error, parse_error
from editing.stats.statistics import ModelStatistics
from tests.editing.families import tiny_lm


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_lm("gpt2", n_positions=40, max_position_embeddings=40)  # a text is drawn in 39 steps


def rounds_used(statistics: ModelStatistics, path: str) -> int:
    length = statistics._length + len(statistics.lm.prefix_ids)
    return statistics._covariances[path].tokens // (ROUND * length)


def test_every_round_counts(lm: LanguageModel, tmp_path: Path) -> None:
    statistics, site = ModelStatistics(lm, tmp_path, "error:0.0001"), lm.sites()[1]
    two = covariances_to_error(lm, [site], 0.0001, 2, statistics._round)[site.path]
    texts = [*statistics._round(0), *statistics._round(1)]
    assert len(texts) == 2 * ROUND and two.tokens == sum(map(len, texts))
    whole = covariances(lm, texts, [site])[site.path]
    assert torch.allclose(two.matrix, whole.matrix, atol=1e-6)
    assert two.error == pytest.approx(whole.error, rel=1e-4)


def test_more_text_until_the_error_is_reached(lm: LanguageModel, tmp_path: Path) -> None:
    site = lm.sites()[1]
    first = ModelStatistics(lm, tmp_path, "error:0.9").covariance(site)
    bound = first.error * 0.6  # about three times the text
    statistics = ModelStatistics(lm, tmp_path, f"error:{bound:.6f}")
    made = statistics.covariance(site)
    assert made.error < bound and made.tokens > first.tokens
    assert statistics.describe()["sites"] == {site.path: {"tokens": made.tokens, "error": round(made.error, 4)}}
    assert f"{made.tokens:,} tokens" in statistics.format() and f"{made.error:.3f}" in statistics.format()


def test_a_site_gets_the_same_whatever_else_is_prepared(lm: LanguageModel, tmp_path: Path) -> None:
    site, other = lm.sites()[0], lm.sites("value")[1]
    bound = ModelStatistics(lm, tmp_path / "a", "error:0.9").covariance(site).error * 0.7
    alone = ModelStatistics(lm, tmp_path / "a", f"error:{bound:.6f}")
    both = ModelStatistics(lm, tmp_path / "b", f"error:{bound:.6f}")
    both.prepare([site, other])
    assert torch.equal(alone.covariance(site).matrix, both.covariance(site).matrix)
    again = ModelStatistics(lm, tmp_path / "b", f"error:{bound:.6f}")
    assert torch.equal(again.covariance(site).matrix, both.covariance(site).matrix)


def test_the_limit_ends_it_and_the_error_reached_is_stated(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics, site = ModelStatistics(lm, tmp_path, "error:0.0001"), lm.sites()[0]
    monkeypatch.setattr("editing.stats.statistics.LIMIT", 2 * ROUND * statistics._length + 1)
    made = statistics.covariance(site)
    assert rounds_used(statistics, site.path) == 2 and made.error > 0.0001
    assert error_corpus.LIMIT == 20_000


@pytest.mark.parametrize("value", ["0", "1", "1.5", "-0.1", "nan", "", "1e-2", "0.0", "."])
def test_other_errors_are_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="error:NUMBER"):
        check_corpus(f"error:{value}")


def test_errors_between_zero_and_one_are_taken() -> None:
    check_corpus("error:0.1")
    assert (parse_error("0.25"), parse_error(".05")) == (0.25, 0.05)


def test_there_is_no_one_text(lm: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="samples:NUMBER"):
        ModelStatistics(lm, tmp_path, "error:0.1").sequences()
