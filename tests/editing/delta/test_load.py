"""A saved change whose record was damaged by hand is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from editing.delta import Delta, Shift
from editing.errors import BadData


@pytest.mark.parametrize(
    "damage", [{"changes": []}, {"changes": None}, {"provenance": None}, {"provenance": []}, {"context": 3}]
)
def test_values_of_another_type(tmp_path: Path, damage: dict) -> None:
    folder = Delta({"a.output": Shift(torch.ones(3))}).save(tmp_path / "delta")
    record = json.loads((folder / "delta.json").read_text())
    (folder / "delta.json").write_text(json.dumps(record | damage))
    with pytest.raises(BadData, match="delta: no readable delta in it"):
        Delta.load(folder)
