"""`valley export`: every form from a saved change; a GGUF edited and read again by transformers gives the same logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks.measure.opening import open_model
from cli import cli
from editing.delta.changes import LowRank, Shift
from editing.delta.delta import Delta, delta_hooks
from editing.export.steering import logits_under
from editing.methods.vocabulary.head_rows import head_change
from editing.model import tied_head
from tests.editing.references.model_files import write_gguf

pytestmark = pytest.mark.usefixtures("own_cache")


def run(*words: object) -> str:
    done = CliRunner().invoke(cli, ["export", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_gguf_is_edited_and_read_again(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    reference = f"gguf:{write_gguf(tmp_path / 'tiny.gguf')}"
    lm = open_model(reference, "cpu")
    site, draw = lm.sites("mlp")[0], torch.Generator().manual_seed(0)
    change = LowRank(torch.randn(site.d_out, 1, generator=draw), torch.randn(site.d_in, 1, generator=draw))
    delta = Delta({site.weight: change}, {"model_hash": lm.weight_hash, "method": "rome"})
    delta.save(tmp_path / "delta")
    expected = logits_under(lm, delta_hooks(lm, [delta], [0]))
    said = run("gguf", tmp_path / "delta", "--model", reference, "--out", tmp_path / "edited.gguf")
    assert "blk.0.ffn_down.weight in float32, every other tensor as it was" in said
    run("merged", tmp_path / "delta", "--model", reference, "--out", tmp_path / "merged")
    for again in (f"gguf:{tmp_path / 'edited.gguf'}", str(tmp_path / "merged")):
        other = open_model(again, "cpu")
        assert other.weight_hash != lm.weight_hash
        assert torch.allclose(logits_under(other, []), expected, atol=1e-5), again
    assert "method: rome" in (tmp_path / "merged" / "README.md").read_text()
    assert "rank 1" in run("adapter", tmp_path / "delta", "--model", reference, "--out", tmp_path / "adapter")
    assert (tmp_path / "adapter" / "README.md").is_file()
    renamed = Delta(head_change(lm, [3, 5], torch.ones(2, 1), torch.randn(lm.d_model, 1, generator=draw)))
    Delta(renamed.factors, {"model_hash": lm.weight_hash}).save(tmp_path / "rename")
    expected = logits_under(lm, delta_hooks(lm, [renamed], [0]))
    said = run("gguf", tmp_path / "rename", "--model", reference, "--out", tmp_path / "renamed.gguf")
    assert f"wrote {tmp_path / 'renamed.gguf'}: output.weight in float32, every other tensor as it was" in said
    said = run("merged", tmp_path / "rename", "--model", reference, "--out", tmp_path / "renamed")
    assert "head was untied from the embedding (tie_word_embeddings=false)" in said
    said = run("adapter", tmp_path / "rename", "--model", reference, "--out", tmp_path / "head")
    assert "lm_head rank 1" in said and "do not merge this adapter" in said
    for again in (f"gguf:{tmp_path / 'renamed.gguf'}", str(tmp_path / "renamed")):
        other = open_model(again, "cpu")
        assert tied_head(lm.module) and not tied_head(other.module)
        assert torch.allclose(logits_under(other, []), expected, atol=1e-5), again
    row = LowRank(torch.eye(lm.module.get_input_embeddings().weight.shape[0])[:, 5:6], torch.ones(lm.d_model, 1))
    Delta({"model.embed_tokens.weight": row}, {"model_hash": lm.weight_hash}).save(tmp_path / "row")
    said = run("adapter", tmp_path / "row", "--model", reference, "--out", tmp_path / "rows")
    assert f"wrote {tmp_path / 'rows'}: model.embed_tokens 1 rows" in said
    refused = CliRunner().invoke(
        cli, ["export", "gguf", str(tmp_path / "delta"), "--model", str(tmp_path / "merged"), "--out", "x.gguf"]
    )
    assert refused.exit_code == 2 and "was not read from a GGUF" in refused.output
    vector = Delta({f"{lm.layout.blocks[0]}.output": Shift(torch.ones(lm.d_model))}, {"model_hash": lm.weight_hash})
    vector.save(tmp_path / "vector")
    assert "--model steered" in run("steered", tmp_path / "vector", "--model", reference, "--out", tmp_path / "v.pt")
    assert "change.json" in run("plain", tmp_path / "vector", "--model", reference, "--out", tmp_path / "plain")
