"""The measured choice between float32 and bfloat16 products."""

import json

import pytest
import torch

from editing.model import bfloat16
from editing.model.bfloat16 import bfloat16_gain


def native() -> bool:
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


@pytest.mark.skipif(not native(), reason="the processor has no native bfloat16")
def test_the_gain_is_measured_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path))
    gain = bfloat16_gain(512)
    (stored,) = (tmp_path / "timings").glob("bfloat16-*.json")
    kept = json.loads(stored.read_text())
    assert gain == kept["gain"] > 0
    assert {"processor", "torch", "width", "seconds"} <= kept.keys()
    stored.write_text(json.dumps(kept | {"gain": 0.25}))
    assert bfloat16_gain(512) == 0.25
    stored.write_text("damaged")
    assert bfloat16_gain(512) > 0 and json.loads(stored.read_text())["width"] == 512


def test_without_native_bfloat16_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert bfloat16_gain(512) == 0
    assert not (tmp_path / "timings").exists()


def test_the_processor_has_a_name():
    assert bfloat16.processor()
