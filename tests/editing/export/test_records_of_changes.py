"""Changes that were composed, scaled or share tensors: what is written of them, and whether it is made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import editing
from benchmarks.live.reproduce import reproduce_change
from editing.delta import Affine, Delta, LowRank, Shift, compose, export_peft
from editing.errors import BadModel
from editing.export import card_of, export_plain, export_steered
from editing.lazy import tensor_files
from tests.benchmarks.tiny import facts, world
from tests.editing.families import tiny_lm


def test_a_dose_of_a_composed_change_is_reproduced(tmp_path: Path) -> None:
    lm = editing.load(world().model, device="cpu")
    parts = [
        editing.edit(lm, editing.Request(r["prompt"], r["subject"], r["target"]), "ft_m", steps=2, dose=1)
        for r in facts()[:2]
    ]
    (0.5 * compose(parts)).save(tmp_path / "half")
    done = reproduce_change(tmp_path / "half")
    assert done.reproduced and done.difference < 1e-6


def test_the_card_fills_slots_and_lists_every_edit() -> None:
    lm = tiny_lm("llama")
    request = {"prompts": ["{} is written interface{{}}"], "subject": "Any", "targets": ["x"]}
    one = Delta({}, {"requests": [request], "method": "rome"})
    assert "* Any is written interface{} -> x" in card_of(one, lm, "adapter")
    assert "# 3 edits of" in card_of(compose([compose([one, one]), one]), lm, "adapter")


def test_two_changes_of_one_module_are_both_in_the_plain_file(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    path = f"{lm.layout.blocks[1]}.mlp.down_proj"
    d_out, d_in = lm.submodule(path).weight.shape
    weight = LowRank(torch.ones(d_out, 1), torch.ones(d_in, 1))
    output = Affine(torch.full((d_out, 1), 2.0), torch.full((d_out, 1), 3.0), torch.zeros(d_out))
    export_plain(Delta({f"{path}.weight": weight, f"{path}.output": output}), lm, tmp_path / "out")
    tensors = tensor_files.load_file(tmp_path / "out" / "change.safetensors")
    first, second = json.loads((tmp_path / "out" / "change.json").read_text())["changes"]
    assert torch.equal(tensors[first["tensors"]["left"]], weight.left)
    assert torch.equal(tensors[second["tensors"]["left"]], output.left)


def test_one_tensor_at_two_places_can_be_written(tmp_path: Path) -> None:
    vector = torch.ones(4)
    Delta({"a.output": Shift(vector), "b.output": Shift(vector)}).save(tmp_path / "d")
    assert torch.equal(Delta.load(tmp_path / "d").factors["b.output"].vector, vector)
    lm = tiny_lm("llama")
    paths = [f"{block}.mlp.down_proj" for block in lm.layout.blocks[:2]]
    d_out, d_in = lm.submodule(paths[0]).weight.shape
    key = torch.randn(d_in, 1)
    change = Delta({f"{path}.weight": LowRank(torch.randn(d_out, 1), key) for path in paths})
    assert set(export_peft(change, lm, tmp_path / "peft").ranks) == set(paths)


def test_the_card_of_a_composed_change_names_the_methods_and_doses_of_all_its_edits() -> None:
    lm = tiny_lm("llama")
    about = {"requests": [], "seed": 1, "settings": {"site": "mlp"}}
    made = [
        Delta({}, about | {"method": "rome", "dose": 0.5}),
        Delta({}, about | {"method": "steer", "settings": {"at": "block"}}),
        Delta({}, about | {"method": "rome", "seed": 2}),
    ]
    whole = compose(made)
    text = card_of(Delta({}, {**whole.provenance, "seed": 3}), lm, "merged")
    for line in ("* method: rome; steer", "* seed: 1; 2; 3", "* settings: site=mlp; at=block", "* dose: 0.5; 1.0"):
        assert f"\n{line}\n" in text
    assert "- rome\n- steer\n---" in text
    assert "* dose" not in card_of(compose(made[1:]), lm, "merged")


def test_a_change_of_another_model_is_not_written_as_one_of_this(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    shift = Shift(torch.ones(lm.module.config.hidden_size))
    foreign = Delta({f"{lm.layout.blocks[1]}.output": shift}, {"model_hash": "a" * 64})
    with pytest.raises(BadModel, match="another model"):
        export_plain(foreign, lm, tmp_path / "plain")
    with pytest.raises(BadModel, match="another model"):
        export_steered(foreign, lm, tmp_path / "steered.pt")
    assert not any(tmp_path.iterdir())
