"""Exported changes, loaded by the programs they are for: the same logits as the edit in this program."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from editing.delta import Affine, Dense, LowRank, Shift, TokenShift, export_peft
from editing.delta.delta import PARTS, Delta, delta_hooks
from editing.errors import BadData, BadModel, BadRequest
from editing.export import (
    card_of,
    export_control_vector,
    export_gguf,
    export_merged,
    export_plain,
    export_steered,
)
from editing.export.plain import RULES
from editing.export.steering import PROBE, logits_under
from editing.methods.vocabulary.head_rows import head_change
from editing.model import embedding_path, tied_head
from editing.model.language_model import LanguageModel
from tests.editing.families import tiny_lm

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def edited(lm: LanguageModel, delta: Delta) -> torch.Tensor:
    return logits_under(lm, delta_hooks(lm, [delta], [0]))


def read(lm: LanguageModel, module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=torch.tensor([lm.encode(PROBE)])).logits[0].float()


def weights(lm: LanguageModel) -> Delta:
    low, dense = lm.sites("mlp")[1], lm.sites("value")[0]
    return Delta(
        {
            low.weight: LowRank(draw(low.d_out, 2), draw(low.d_in, 2, seed=1)),
            dense.weight: Dense(draw(dense.d_out, dense.d_in, seed=2)),
        },
        {"method": "rome", "settings": {"clamp": 4}, "seed": 3, "model_hash": lm.weight_hash},
    )


def block_shift(lm: LanguageModel, layer: int = 1) -> Delta:
    return Delta({f"{lm.layout.blocks[layer]}.output": Shift(draw(lm.d_model))})


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "gemma3_text"])
def test_merged_folder_in_transformers(family: str, tmp_path: Path) -> None:
    lm = tiny_lm(family, spread=0.05)
    delta, before = weights(lm), lm.weight_hash
    export_merged(delta, lm, tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert torch.allclose(read(lm, loaded), edited(lm, delta), **CLOSE)
    assert not torch.allclose(read(lm, lm.module), edited(lm, delta), atol=1e-3)
    assert LanguageModel.wrap(lm.module, lm.tokenizer).weight_hash == before
    with pytest.raises(BadData, match="is not empty"):
        export_merged(delta, lm, tmp_path / "model")


def test_a_shift_is_merged_into_a_bias_or_refused(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2", spread=0.05)
    delta = Delta({f"{lm.sites('mlp')[1].path}.output": Shift(draw(lm.d_model))})
    export_merged(delta, lm, tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert torch.allclose(read(lm, loaded), edited(lm, delta), **CLOSE)
    llama = tiny_lm("llama")
    with pytest.raises(BadRequest, match="Shift is no change of weights here; export it with `export steered`"):
        export_merged(
            Delta({f"{llama.sites('mlp')[1].path}.output": Shift(draw(llama.d_model))}), llama, tmp_path / "b"
        )
    with pytest.raises(BadRequest, match="TokenShift is no change of weights here; export it with `export plain`"):
        shift = TokenShift(torch.tensor([3]), torch.ones(1, llama.d_model))
        export_merged(Delta({f"{llama.sites('mlp')[1].path}.output": shift}), llama, tmp_path / "d")
    with pytest.raises(BadRequest, match="a text before the prompt"):
        export_merged(Delta({}, {}, "New fact."), llama, tmp_path / "c")


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text"])  # Gemma's embedding multiplies its rows
@pytest.mark.parametrize("edit", ["rename", "what is read"])
def test_a_tied_head_gets_weights_of_its_own(family: str, edit: str, tmp_path: Path) -> None:
    lm = tiny_lm(family, spread=0.05, tie_word_embeddings=True)
    before = lm.weight_hash
    table = embedding_path(lm.module)
    assert tied_head(lm.module)
    tokens = lm.encode(PROBE)[1:3]
    if edit == "rename":
        delta = Delta(head_change(lm, tokens, draw(2, 3), draw(lm.d_model, 3, seed=1)))
    else:
        delta = Delta({f"{table}.output": TokenShift(torch.tensor([*tokens, tokens[0]]), draw(3, lm.d_model))})
    done = export_merged(delta, lm, tmp_path / "model")
    head = lm.module.get_output_embeddings().weight
    assert done.head_bytes == 4 * head.numel() and done.difference < 2e-5
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert loaded.config.tie_word_embeddings is False and not tied_head(loaded)
    with delta.applied(lm):
        expected = read(lm, lm.module)
    assert torch.allclose(read(lm, loaded), expected, **CLOSE)
    assert torch.allclose(edited(lm, delta), expected, **CLOSE)
    assert not torch.allclose(read(lm, lm.module), expected, atol=1e-3)
    old, new = (module.get_input_embeddings().weight for module in (lm.module, loaded))
    assert torch.allclose(old, new, atol=1e-6) == (edit == "rename")
    assert torch.equal(loaded.get_output_embeddings().weight, head) == (edit != "rename")
    assert tied_head(lm.module) and lm.module.config.tie_word_embeddings
    assert LanguageModel.wrap(lm.module, lm.tokenizer).weight_hash == before


def test_an_architecture_that_ties_its_head_anyway_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Custom code that does not look at the configuration: the folder would be another model."""
    lm = tiny_lm("gpt2", spread=0.05)
    delta = Delta(head_change(lm, lm.encode(PROBE)[1:3], draw(2, 1), draw(lm.d_model, 1)))
    load = AutoModelForCausalLM.from_pretrained

    def tying(*args: object, **settings: object) -> torch.nn.Module:
        module = load(*args, **settings)
        module.get_output_embeddings().weight = module.get_input_embeddings().weight
        return module

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", tying)
    with pytest.raises(BadModel, match="answers otherwise once loaded"):
        export_merged(delta, lm, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text"])
def test_control_vector_read_back(family: str, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    lm = tiny_lm(family, spread=0.05)
    delta = block_shift(lm)
    assert export_control_vector(delta, lm, tmp_path / "v.gguf") <= 1e-4
    reader = gguf.GGUFReader(tmp_path / "v.gguf")
    assert reader.get_field("general.architecture").contents() == "controlvector"
    assert reader.get_field("controlvector.model_hint").contents() == lm.module.config.model_type
    assert reader.get_field("controlvector.layer_count").contents() == lm.n_layers
    (tensor,) = reader.tensors  # as llama.cpp reads it: direction.N is added behind block N, blocks counted from 0
    assert tensor.name == "direction.1" and torch.equal(
        torch.tensor(tensor.data.copy()), delta.factors[delta.weights[0]].vector
    )
    with pytest.raises(BadRequest, match="block 0"):
        export_control_vector(block_shift(lm, 0), lm, tmp_path / "w.gguf")


def test_a_vector_that_is_normalised_first_is_no_control_vector(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    llama, gemma = tiny_lm("llama", spread=0.05), tiny_lm("gemma3_text", spread=0.05)
    inside = [Delta({f"{lm.sites('mlp')[1].path}.output": Shift(draw(lm.d_model))}) for lm in (llama, gemma)]
    assert export_control_vector(inside[0], llama, tmp_path / "v.gguf") <= 1e-4
    with pytest.raises(BadRequest, match="needs an edit of the block"):
        export_control_vector(inside[1], gemma, tmp_path / "w.gguf")


def test_steered_in_lm_evaluation_harness(tmp_path: Path) -> None:
    harness = pytest.importorskip("lm_eval.models.hf_steered", reason="lm-evaluation-harness is not installed")
    lm = tiny_lm("llama", spread=0.05)
    delta = Delta({**block_shift(lm).factors, f"{lm.sites('mlp')[0].path}.output": Shift(draw(lm.d_model, seed=4))})
    export_steered(delta, lm, tmp_path / "steer.pt")
    lm.module.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    other = harness.SteeredModel(
        pretrained=str(tmp_path / "model"), steer_path=str(tmp_path / "steer.pt"), device="cpu", dtype="float32"
    )
    with torch.no_grad():
        logits = other._model_call(torch.tensor([lm.encode(PROBE)]))[0].float()
    assert torch.allclose(logits, edited(lm, delta), **CLOSE)


def test_plain_by_hand(tmp_path: Path) -> None:
    """Only torch, safetensors and what the page says: the same logits."""
    lm = tiny_lm("gpt2", spread=0.05)
    delta = Delta({**weights(lm).factors, **block_shift(lm, 0).factors})
    export_plain(delta, lm, tmp_path / "plain")
    page, tensors = (
        json.loads((tmp_path / "plain" / "change.json").read_text()),
        load_file(tmp_path / "plain" / "change.safetensors"),
    )
    lm.module.save_pretrained(tmp_path / "model")
    module = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    for change in page["changes"]:
        target, parts = module.get_submodule(change["module"]), {k: tensors[v] for k, v in change["tensors"].items()}
        if change["do"].startswith("weight"):
            update = parts["left"] @ parts["right"].T if "left" in parts else parts["matrix"]
            with torch.no_grad():
                target.weight += update.T if change["stored_transposed"] else update
        else:
            target.register_forward_hook(
                lambda m, i, o, v=parts["vector"]: (o[0] + v, *o[1:]) if isinstance(o, tuple) else o + v
            )
    assert torch.allclose(read(lm, module), edited(lm, delta), **CLOSE)


def test_plain_has_a_rule_for_every_kind_of_change(tmp_path: Path) -> None:
    assert set(RULES) == set(PARTS)
    lm = tiny_lm("gpt2", spread=0.05)
    change = Affine(draw(lm.d_model, 2), draw(lm.d_model, 2, seed=1), draw(lm.d_model, seed=2))
    export_plain(Delta({f"{lm.layout.blocks[0]}.output": change}), lm, tmp_path)
    (about,) = json.loads((tmp_path / "change.json").read_text())["changes"]
    tensors = load_file(tmp_path / "change.safetensors")
    left, right, offset = (tensors[about["tensors"][part]] for part in ("left", "right", "offset"))
    assert about["do"] == "output: y += left @ right.T @ y + offset, at every position"
    y = draw(lm.d_model, seed=3)
    assert torch.allclose(left @ right.T @ y + offset, change.of(y), **CLOSE)


def test_what_is_no_vector_is_refused(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    with pytest.raises(BadRequest, match="a LowRank is no vector"):
        export_steered(weights(lm), lm, tmp_path / "s.pt")
    with pytest.raises(BadRequest, match=r"from a \.pt file"):
        export_steered(block_shift(lm), lm, tmp_path / "s.bin")
    token = Delta({"model.embed_tokens.output": TokenShift(torch.tensor([1]), draw(1, lm.d_model))})
    with pytest.raises(BadRequest, match="a TokenShift is no vector"):
        export_control_vector(token, lm, tmp_path / "s.gguf")


@pytest.mark.parametrize("form", ["adapter", "merged", "plain", "save", "steered"])
def test_a_full_disk_is_one_line_that_names_the_file(form: str, tmp_path: Path) -> None:
    lm, out = tiny_lm("gpt2"), tmp_path / ("out.pt" if form == "steered" else "out")
    delta = block_shift(lm) if form == "steered" else weights(lm)
    write = {"adapter": export_peft, "merged": export_merged, "plain": export_plain, "steered": export_steered}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(BadData, match=r"out.*: cannot write there \(.*\); choose another folder or free space"):
            delta.save(out) if form == "save" else write[form](delta, lm, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not out.exists() or not list(out.iterdir())  # so that the same command can be run again


def test_card_says_how_to_repeat_it() -> None:
    lm = tiny_lm("llama")
    requests = [{"prompts": ["{} comes from"], "subject": "Brie", "targets": ["Spain"]}]
    scores = [{"probe": "efficacy", "n": 1, "measurable": 1, "value": 1.0}]
    delta = weights(lm)
    text = card_of(Delta(delta.factors, {**delta.provenance, "requests": requests, "scores": scores}), lm, "adapter")
    assert ("every text begins with" in text) == bool(lm.prefix_ids)
    for part in (
        "library_name: peft",
        "method: rome",
        "seed: 3",
        "clamp=4",
        lm.weight_hash,
        "Brie comes from -> Spain",
        "| efficacy | 1 | 1 | 1.00 |",
    ):
        assert part in text, part


def write_gguf(lm: LanguageModel, path: Path, quantised: bool) -> None:
    """The model as llama.cpp's converter lays it out, as far as an edit reads it."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(lm.n_layers)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, lm.n_layers)
    for name, values in lm.module.named_parameters():
        array = values.detach().float().numpy()
        if quantised and array.ndim == 2 and array.shape[1] % 32 == 0:
            packed = gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q8_0)
            values.data = torch.tensor(gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0))
            writer.add_tensor(names.get_name(name, (".weight",)), packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(names.get_name(name, (".weight",)), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("quantised", [False, True])
def test_gguf_copy_holds_the_edit_and_every_other_tensor_as_it_was(quantised: bool, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    lm = tiny_lm("llama", spread=0.05)
    write_gguf(lm, tmp_path / "a.gguf", quantised)
    lm = LanguageModel.wrap(lm.module, lm.tokenizer)
    delta = Delta(weights(lm).factors)
    changed = export_gguf(delta, lm, tmp_path / "a.gguf", tmp_path / "b.gguf")
    assert changed == ("blk.1.ffn_down.weight", "blk.0.attn_v.weight")
    old, new = (gguf.GGUFReader(tmp_path / f"{name}.gguf") for name in "ab")
    assert new.get_field("tokenizer.ggml.tokens").contents() == ["a", "b"]
    assert {n for n in old.fields if not n.startswith("GGUF.")} == {n for n in new.fields if not n.startswith("GGUF.")}
    with delta.applied(lm):
        expected = {
            "blk.1.ffn_down.weight": lm.sites("mlp")[1].weight,
            "blk.0.attn_v.weight": lm.sites("value")[0].weight,
        }
        for before, after in zip(old.tensors, new.tensors, strict=True):
            assert before.name == after.name
            if after.name in changed:
                assert after.tensor_type == gguf.GGMLQuantizationType.F32
                assert torch.equal(torch.tensor(after.data.copy()), lm.values(expected[after.name]).float())
            else:
                assert before.tensor_type == after.tensor_type and (before.data == after.data).all()


@pytest.mark.parametrize("quantised", [False, True])
def test_a_gguf_with_a_head_of_its_own_keeps_the_embedding(quantised: bool, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    lm = tiny_lm("llama", spread=0.05, tie_word_embeddings=True)
    write_gguf(lm, tmp_path / "a.gguf", quantised)
    lm = LanguageModel.wrap(lm.module, lm.tokenizer)
    rename = Delta(head_change(lm, [3, 5], draw(2, 1), draw(lm.d_model, 1)))
    assert export_gguf(rename, lm, tmp_path / "a.gguf", tmp_path / "b.gguf") == ("output.weight",)
    old, new = ({t.name: t for t in gguf.GGUFReader(tmp_path / f"{name}.gguf").tensors} for name in "ab")
    assert new.keys() - old.keys() == {"output.weight"}
    for name, tensor in old.items():
        assert new[name].tensor_type == tensor.tensor_type and (new[name].data == tensor.data).all(), name
    with rename.applied(lm):
        head = lm.values("model.embed_tokens.weight")
        assert torch.equal(torch.tensor(new["output.weight"].data.copy()), head.float())
    read = Delta({"model.embed_tokens.output": TokenShift(torch.tensor([3]), draw(1, lm.d_model))})
    changed = export_gguf(read, lm, tmp_path / "a.gguf", tmp_path / "c.gguf")
    assert set(changed) == {"output.weight", "token_embd.weight"}


def test_a_gguf_in_another_order_is_refused(tmp_path: Path) -> None:
    lm = tiny_lm("llama", spread=0.05)
    write_gguf(lm, tmp_path / "a.gguf", False)
    site = lm.sites("mlp")[1]
    with torch.no_grad():
        lm.weight(site.weight).copy_(lm.weight(site.weight).flip(0))
    lm = LanguageModel.wrap(lm.module, lm.tokenizer)
    delta = Delta({site.weight: LowRank(draw(site.d_out, 1), draw(site.d_in, 1))})
    with pytest.raises(BadModel, match="in another order"):
        export_gguf(delta, lm, tmp_path / "a.gguf", tmp_path / "b.gguf")
