"""A hub data set as corpus: read off a hub cache as a download leaves it, and one line at once where it cannot be."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from editing.errors import BadData, BadRequest
from editing.model.language_model import LanguageModel
from editing.stats.hub_corpus import HubCorpus
from editing.stats.statistics import ModelStatistics
from tests.editing.families import SENTENCES, tiny_lm

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_lm("gpt2")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot folder of `nobody/texts` in a hub cache, and no way to the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repo = tmp_path / "hub" / "datasets--nobody--texts"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    write(repo, "data/test-00000-of-00001.parquet", {"text": ["The test split comes last."]})
    write(repo, "data/train-00000-of-00002.parquet", {"text": [*SENTENCES[:4], None, "  "], "id": list(range(6))})
    write(repo, "data/train-00001-of-00002.parquet", {"text": SENTENCES[4:], "id": list(range(5))})
    return repo / "snapshots" / COMMIT


def write(repo: Path, name: str, columns: dict[str, object]) -> None:
    """A blob and a link to it."""
    blob, link = repo / "blobs" / name.replace("/", "-"), repo / "snapshots" / COMMIT / name
    for path in (blob, link):
        path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), blob)
    link.symlink_to(os.path.relpath(blob, link.parent))


def statistics(lm: LanguageModel, folder: Path, corpus: str) -> ModelStatistics:
    return ModelStatistics(lm, folder, corpus)


def refused(lm: LanguageModel, folder: Path, corpus: str) -> str:
    with pytest.raises(BadData) as error:
        statistics(lm, folder, corpus).prepare([lm.sites()[0]])
    assert "\n" not in str(error.value) and "hub:nobody/" in str(error.value)
    return str(error.value)


def test_it_is_the_covariance_of_the_column(lm: LanguageModel, hub: Path, tmp_path: Path) -> None:
    site = lm.sites()[1]
    every = statistics(lm, tmp_path / "1", "hub:nobody/texts").covariance(site)
    (tmp_path / "all.txt").write_text("")
    texts = [*SENTENCES, "The test split comes last."]
    folder = tmp_path / "texts"
    folder.mkdir()
    for i, text in enumerate(texts):
        (folder / f"{i:02}.txt").write_text(text, encoding="utf-8")
    expected = statistics(lm, tmp_path / "2", f"text:{folder}").covariance(site)
    assert every.tokens == expected.tokens and torch.equal(every.matrix, expected.matrix)


def test_it_is_read_until_there_are_enough_tokens(lm: LanguageModel, hub: Path, tmp_path: Path) -> None:
    made = statistics(lm, tmp_path, "hub:nobody/texts:text:30")
    assert made.covariance(lm.sites()[0]).tokens == 30 + 1  # and the model's prefix
    (hub / "data" / "train-00001-of-00002.parquet").resolve().write_bytes(b"never opened")
    again = statistics(lm, tmp_path / "2", "hub:nobody/texts:text:30").covariance(lm.sites()[0])
    assert torch.equal(again.matrix, made.covariance(lm.sites()[0]).matrix)
    assert made.describe()["corpus"] == "hub:nobody/texts:text:30"
    more = statistics(lm, tmp_path, "hub:nobody/texts:text:31").covariance(lm.sites()[0])
    assert more.tokens == 32, "another number of tokens is another corpus"


def test_what_is_wrong_with_the_files_is_said(lm: LanguageModel, hub: Path, tmp_path: Path) -> None:
    assert "no column 'body'; write hub:nobody/texts:COLUMN with one of text, id" in refused(
        lm, tmp_path, "hub:nobody/texts:body"
    )
    assert "holds int64, not text" in refused(lm, tmp_path, "hub:nobody/texts:id")
    (hub / "data" / "train-00000-of-00002.parquet").resolve().write_bytes(b"PAR1 cut short")
    assert "is damaged" in refused(lm, tmp_path, "hub:nobody/texts")


def test_a_missing_one_is_refused_at_once(lm: LanguageModel, hub: Path, tmp_path: Path) -> None:
    began = time.perf_counter()
    with pytest.raises(BadData, match="HF_HUB_OFFLINE is set; unset it once"):
        statistics(lm, tmp_path, "hub:nobody/missing")
    assert time.perf_counter() - began < 5


def test_what_the_hub_refuses_is_said(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    answer: Any = SimpleNamespace(headers={}, status_code=403, request=None)
    for error, words in (
        (GatedRepoError("no", response=answer), "gated; accept its terms"),
        (RepositoryNotFoundError("no", response=answer), "no such data set, or it is private"),
        (ConnectionError("no"), "the hub cannot be reached"),
    ):

        def ask(*args: object, error: Exception = error, **more: object) -> None:
            raise error

        monkeypatch.setattr(HfApi, "dataset_info", ask)
        with pytest.raises(BadData, match=words) as result:
            HubCorpus("nobody/missing").files()
        assert "\n" not in str(result.value)


def test_forms(lm: LanguageModel) -> None:
    assert HubCorpus.parse("a/b") == HubCorpus("a/b", "text", 200_000)
    assert HubCorpus.parse("a/b-c.d:content") == HubCorpus("a/b-c.d", "content", 200_000)
    assert HubCorpus.parse("a/b:content:5000") == HubCorpus("a/b", "content", 5000)
    for text in ("", "b", "a/b:text:0", "a/b:text:x", "a/b:", "../b:text"):
        assert HubCorpus.parse(text) is None
        with pytest.raises(BadRequest, match="hub:OWNER/NAME"):
            ModelStatistics(lm, corpus=f"hub:{text}")
