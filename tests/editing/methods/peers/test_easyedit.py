"""EasyEdit's editors as methods: settings fitted to a model, and changes of weights taken over.

The whole way runs on a small checkout written here (an editor that changes a weight by two ranks, a whole weight, a
bias, nothing, or an embedding); with EASYEDIT_HOME, the real editors run and agree with ours.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from editing.delta import Dense, LowRank, Shift
from editing.errors import BadData, BadRequest
from editing.eval import continuation_logprobs
from editing.methods import easyedit_editors, make_method
from editing.methods.peers.hparams import default_file, fitted, read_hparams
from editing.methods.peers.process import editors
from editing.model import LanguageModel, hash_weights
from editing.stats import ModelStatistics
from editing.text import EditRequest
from tests.editing.families import random_module, tokenizer

REQUESTS = (
    EditRequest("fact", ("The capital of {} is the city of",), "New Zealand", ("Madrid",)),
    EditRequest("start", ("{} comes from",), "Brie", ("Italy and Rome",)),
)
PUBLISHED = """
alg_name: "ROME"
model_name: "./hugging_cache/gpt2-xl"
stats_dir: "./data/stats"
device: 0
layers: [17]
fact_token: "subject_last"
v_lr: 5e-1
v_loss_layer: 47
rewrite_module_tmp: "transformer.h.{}.mlp.c_proj"
layer_module_tmp: "transformer.h.{}"
mlp_module_tmp: "transformer.h.{}.mlp"
attn_module_tmp: "transformer.h.{}.attn"
ln_f_module: "transformer.ln_f"
lm_head_module: "transformer.wte"
"""
TABLE = """
from ..models.small import SmallHyperParams, apply_small_to_model
from ..models.absent import AbsentHyperParams, AbsentExecutor

ALG_DICT = {
    "Small": apply_small_to_model,
    "Absent": AbsentExecutor().apply_to_model,
}
"""
SMALL = """
from dataclasses import dataclass
import torch


@dataclass
class SmallHyperParams:
    layers: list
    rewrite_module_tmp: str
    kind: str
    model_name: str
    device: object
    fact_token: str = ""


def apply_small_to_model(model, tok, requests, hparams, copy=False, return_orig_weights=False, **more):
    module = model.get_submodule(hparams.rewrite_module_tmp.format(hparams.layers[0]))
    size = len(requests[0]["subject"])
    with torch.no_grad():
        if hparams.kind == "rank two":
            for column in (0, 1):
                module.weight[column] += size
        elif hparams.kind == "lookup":
            module.weight[0] += 1 if hparams.fact_token == "last" else 2
        elif hparams.kind == "whole":
            module.weight += torch.randn(module.weight.shape)
        elif hparams.kind == "bias":
            module.bias += size
        elif hparams.kind == "embedding":
            model.get_input_embeddings().weight[0] += 1
        elif hparams.kind == "fails":
            raise ValueError("no such luck")
    return model, {}
"""
needs_peer = pytest.mark.skipif(
    not os.environ.get("EASYEDIT_HOME"), reason="EASYEDIT_HOME names no checkout of EasyEdit"
)


def tiny(family: str = "gpt2") -> LanguageModel:
    return LanguageModel.wrap(random_module(family, len(tokenizer()), spread=0.1), tokenizer(), name="tiny")


def checkout_in(folder: Path) -> Path:
    for name, text in {
        "util/alg_dict.py": TABLE,
        "models/small/__init__.py": SMALL,
        "models/absent/__init__.py": "import surely_not_installed\n",
    }.items():
        path = folder / "easyeditor" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "hparams" / "ROME").mkdir(parents=True)
    (folder / "hparams" / "ROME" / "gpt2-xl.yaml").write_text(PUBLISHED)
    return folder


def test_the_editors_of_a_checkout_are_read_from_its_table(tmp_path: Path) -> None:
    assert editors(checkout_in(tmp_path)) == {
        "Small": ("small", "apply_small_to_model", "", "SmallHyperParams"),
        "Absent": ("absent", "AbsentExecutor", "apply_to_model", "AbsentHyperParams"),
    }


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
def test_a_file_is_fitted_to_the_model(family: str, tmp_path: Path) -> None:
    lm, path = tiny(family), checkout_in(tmp_path) / "hparams" / "ROME" / "gpt2-xl.yaml"
    values = fitted(default_file(tmp_path, "rome", lm), False, lm, None, "last")
    assert values["layers"] == [int(17.5 * lm.n_layers / 48)] and values["v_loss_layer"] == lm.n_layers - 1
    assert values["fact_token"] == "last" and values["v_lr"] == 0.5 and values["device"] == "cpu"
    names = {name for name, _ in lm.module.named_modules()}
    for key in ("rewrite_module_tmp", "layer_module_tmp", "mlp_module_tmp", "attn_module_tmp"):
        assert values[key].format(1) in names, key
    assert values["rewrite_module_tmp"].format(1) == lm.sites("mlp")[1].path
    assert values["ln_f_module"] in names
    deep = fitted(path, False, lm, 0.99, "last")
    assert deep["layers"] == [lm.n_layers - 1]
    with pytest.raises(BadRequest, match=r"layers: \[17\], but tiny has 4; correct the file"):
        fitted(path, True, lm, None, "last")
    assert read_hparams(path)["layers"] == [17], "the file's values were changed"


def test_what_cannot_be_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, statistics = tiny(), ModelStatistics(tiny(), tmp_path / "cache", "identity")
    monkeypatch.delenv("EASYEDIT_HOME", raising=False)
    with pytest.raises(BadData, match="EASYEDIT_HOME: not set"):
        make_method("easyedit:ROME").each(lm, REQUESTS, statistics)
    monkeypatch.setenv("EASYEDIT_HOME", str(checkout_in(tmp_path)))
    with pytest.raises(BadRequest, match="no file of settings"):
        make_method("easyedit:FT").each(lm, REQUESTS, statistics)
    with pytest.raises(BadRequest, match="beside the weights"):
        make_method("easyedit:WISE").each(lm, REQUESTS, statistics)
    with pytest.raises(BadRequest, match="site='value'"):
        make_method("easyedit:ROME", site="value")
    several = EditRequest("name", ("a b", "c d"), "", ("e",), lookup="last")
    with pytest.raises(BadRequest, match="'name' has several"):
        make_method("easyedit:ROME").each(lm, [several], statistics)


@pytest.mark.slow
def test_changes_of_weights_come_back_as_deltas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = checkout_in(tmp_path / "home")
    monkeypatch.setenv("EASYEDIT_HOME", str(home))
    lm = tiny()
    before, statistics = hash_weights(lm.module), ModelStatistics(lm, tmp_path / "cache", "identity")

    def run(kind: str, **settings):
        file = tmp_path / "small.yaml"
        file.write_text(f'layers: [2]\nrewrite_module_tmp: x\nkind: "{kind}"\nmodel_name: x\ndevice: 0\nunused: 1\n')
        read_hparams.cache_clear()
        return make_method("easyedit:small", hparams=str(file), **settings).each(lm, REQUESTS, statistics)

    path = lm.sites("mlp")[2].path
    for delta, request in zip(run("rank two"), REQUESTS, strict=True):
        factor = delta.factors[f"{path}.weight"]
        assert isinstance(factor, LowRank) and factor.rank <= 2
        expected = torch.zeros(factor.shape)
        expected[:, :2] = len(request.subject)  # their layout is (d_in, d_out)
        assert torch.allclose(factor.dense(), expected, atol=1e-3)
        assert delta.provenance["method"] == "easyedit:small" and "cpu_seconds" in delta.provenance["easyedit"]
    whole = [delta.factors[f"{path}.weight"] for delta in run("whole", seed=3)]
    assert all(isinstance(factor, Dense) for factor in whole)
    assert torch.equal(whole[0].dense(), whole[1].dense()), "each edit begins at the same seed, on the same weights"
    (bias, _) = run("bias")
    shift = bias.factors[f"{path}.output"]
    assert isinstance(shift, Shift) and torch.allclose(shift.vector, torch.full_like(shift.vector, 11.0))
    for kind, reason in (("nothing", "no weight"), ("embedding", "no linear map"), ("fails", "no such luck")):
        with pytest.raises(BadRequest, match=reason):
            run(kind)
    assert easyedit_editors()["Absent"].startswith("ModuleNotFoundError") and easyedit_editors()["Small"] == ""
    assert hash_weights(lm.module) == before


def test_every_edit_has_its_lookup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the first one of the call; edits that are made together need the same."""
    monkeypatch.setenv("EASYEDIT_HOME", str(checkout_in(tmp_path / "home")))
    lm, file = tiny(), tmp_path / "lookup.yaml"
    file.write_text('layers: [2]\nrewrite_module_tmp: x\nkind: "lookup"\nmodel_name: x\ndevice: 0\nfact_token: x\n')
    statistics = ModelStatistics(lm, tmp_path / "cache", "identity")
    requests = [REQUESTS[0], replace(REQUESTS[1], lookup="last")]
    method = make_method("easyedit:small", hparams=str(file))
    changes = [delta.factors[f"{lm.sites('mlp')[2].path}.weight"] for delta in method.each(lm, requests, statistics)]
    assert [round(float(change.dense().max())) for change in changes] == [2, 1]
    with pytest.raises(BadRequest, match="mixes lookup positions"):
        method(lm, requests, statistics)


@needs_peer
@pytest.mark.slow
@pytest.mark.parametrize("editor", ["ROME", "R-ROME", "MEMIT", "EMMET", "PMET", "FT", "LoRA", "AlphaEdit"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_real_editors_run(editor: str, family: str, tmp_path: Path) -> None:
    lm = tiny(family)
    statistics = ModelStatistics(lm, tmp_path / "cache", "samples:800")
    try:
        deltas = make_method(f"easyedit:{editor}").each(lm, REQUESTS, statistics)
    except BadRequest as error:  # AlphaEdit's absolute threshold may leave no null space on a tiny model
        assert editor == "AlphaEdit" and "no weight" in str(error)
        return
    for delta, request in zip(deltas, REQUESTS, strict=True):
        prompts, targets = list(request.filled()), [[request.targets[0]]]
        (base,), (edited,) = (
            continuation_logprobs(lm, prompts, targets),
            continuation_logprobs(lm, prompts, targets, [delta], [0]),
        )
        assert edited[0] != base[0]  # PMET at its published weight of the covariance moves it by 5e-7


@needs_peer
@pytest.mark.slow
def test_each_edit_of_lora_begins_on_the_unedited_model(tmp_path: Path) -> None:
    lm = tiny("llama")
    statistics = ModelStatistics(lm, tmp_path / "cache", "identity")
    method = make_method("easyedit:LoRA")
    (_, second), (alone,) = method.each(lm, REQUESTS, statistics), method.each(lm, REQUESTS[1:], statistics)
    assert second.weights == alone.weights and len(alone.weights) == 2 * lm.n_layers  # query and value maps
    for name, change in alone.factors.items():
        assert isinstance(change, LowRank | Dense)
        other = second.factors[name]
        assert isinstance(other, LowRank | Dense) and int(torch.linalg.matrix_rank(change.dense(), rtol=1e-3)) <= 12
        torch.testing.assert_close(other.dense(), change.dense(), rtol=1e-3, atol=1e-5)
