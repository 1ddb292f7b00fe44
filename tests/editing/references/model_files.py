"""What the tests of model references write: hub caches, GGUF files, installed packages."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.models import resolve
from editing.errors import BadModel
from editing.references.gguf import sha256_of

WORDS = ["<|endoftext|>", "the", "cheese", "is", "made", "from", "milk", "le", "fromage", "."]


def lay_out(cache: Path, model: str, files: Path) -> Path:
    """blobs/, refs/main and a snapshot of links, as a download leaves them: weights under their sha256."""
    repo = cache / ("models--" + model.replace("/", "--"))
    snapshot = repo / "snapshots" / ("0123456789abcdef" * 2 + "01234567")
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(snapshot.name)
    for file in files.iterdir():
        digest = sha256_of(file)
        blob = repo / "blobs" / (digest if file.suffix == ".safetensors" else digest[:40])
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


def refusal(reference: str, **more) -> str:
    """The error of resolving `reference`: one line."""
    with pytest.raises(BadModel) as error:
        resolve(reference, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


def write_gguf(path: Path) -> Path:
    """A random one-layer Llama with a real byte-pair vocabulary, as GGUF."""
    import numpy as np
    from gguf import GGUFWriter

    rng = np.random.default_rng(0)
    width, vocabulary = 32, [*WORDS[:1], *(chr(c) for c in range(97, 123)), "Ġ", "th"]
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3] + [1] * (len(vocabulary) - 1))
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, rng.normal(0, 0.1, shape).astype(np.float32))

    add("token_embd.weight", len(vocabulary), width)
    add("output_norm.weight", width)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        add(f"blk.0.{name}.weight", width, width)
    for name in ("attn_norm", "ffn_norm"):
        add(f"blk.0.{name}.weight", width)
    for name, shape in {"ffn_gate": (64, width), "ffn_up": (64, width), "ffn_down": (width, 64)}.items():
        add(f"blk.0.{name}.weight", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def install(site: Path, name: str, files: dict[str, bytes], requires: tuple[str, ...] = ()) -> None:
    """An installed distribution with a RECORD, as pip leaves it."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {need}\n" for need in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}")
    lines = []
    for path, data in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}")
    (info / "RECORD").write_text("\n".join(lines) + "\n")
