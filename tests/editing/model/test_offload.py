"""Models that accelerate offloaded or spread out: edits as hooks are those of the plain model, edits in place are
refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model, init_empty_weights

from benchmarks.measure.strength import _embedding_parameters
from editing.delta.changes import Shift
from editing.delta.delta import Delta
from editing.delta.peft_export import export_peft
from editing.errors import BadModel
from editing.eval import replies, text_drift
from editing.methods import make_method, taken_by
from editing.methods.sequence import apply_sequence
from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics
from editing.text.requests import EditRequest
from tests.editing.families import LAYERS, SENTENCES, random_module, tiny_lm, tokenizer
from tests.tiers import fast_are

REQUESTS = [
    EditRequest("a", ("The capital of {} is",), "France", ("Rome",)),
    EditRequest("b", ("The capital of {} is the city of",), "New Zealand", ("Paris",)),
]
FAMILIES = ("gpt2", "llama", "gemma2")
LAYOUTS = ("memory", "disk", "blocks on disk")
EVERY = [(family, layout) for family in FAMILIES for layout in LAYOUTS]
PAIRS = pytest.mark.parametrize(
    ("plain", "away"),
    fast_are([("gpt2", "blocks on disk")], EVERY),
    indirect=True,
)
FEW = {"steps": 5, "short_prefixes": 1, "long_prefixes": 1, "prefixes": 1}


def offloaded(lm: LanguageModel, how: str, folder: Path) -> LanguageModel:
    """A copy of `lm` that accelerate runs from elsewhere."""
    module = copy.deepcopy(lm.module)
    if how == "memory":
        module = cpu_offload(module, execution_device=torch.device("cpu"))
    elif how == "disk":
        module = disk_offload(module, str(folder), execution_device=torch.device("cpu"))
    else:
        parts: dict[str, Any] = {name: "cpu" for name, _ in module.named_children()}
        blocks = lm.layout.blocks
        root = blocks[0].split(".")[0]
        inner = {f"{root}.{n}": "cpu" for n, _ in module.get_submodule(root).named_children()}
        del parts[root], inner[blocks[0].rpartition(".")[0]]
        places = {b: "disk" if i % 2 else "cpu" for i, b in enumerate(blocks)}
        module = dispatch_model(
            module, parts | inner | places, main_device=torch.device("cpu"), offload_dir=str(folder)
        )
    return LanguageModel.wrap(module, lm.tokenizer, name=lm.name, prefix_ids=lm.prefix_ids)


@pytest.fixture(scope="module", params=FAMILIES)
def plain(request: pytest.FixtureRequest) -> LanguageModel:
    tied = {"tie_word_embeddings": False} if request.param == "llama" else {}
    return tiny_lm(request.param, n_positions=40, max_position_embeddings=40, **tied)


@pytest.fixture(params=LAYOUTS)
def away(plain: LanguageModel, request: pytest.FixtureRequest, tmp_path: Path) -> LanguageModel:
    return offloaded(plain, request.param, tmp_path / "offload")


@pytest.fixture(scope="module")
def statistics(plain: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> ModelStatistics:
    return ModelStatistics(plain, tmp_path_factory.mktemp("statistics"), "samples:200")


def edits(name: str, lm: LanguageModel, statistics: ModelStatistics) -> list[Delta]:
    return make_method(name, **taken_by(name, FEW)).each(lm, REQUESTS, statistics)


@PAIRS
def test_what_is_known_of_a_model_is_the_same(plain: LanguageModel, away: LanguageModel) -> None:
    assert away.offloaded and not plain.offloaded
    assert away.weight_hash == plain.weight_hash
    assert away.n_parameters == plain.n_parameters
    assert _embedding_parameters(away) == _embedding_parameters(plain)
    assert away.device == torch.device("cpu") and away.dtype == torch.float32
    assert away.layout == plain.layout
    for name, weight in plain.module.named_parameters():
        assert torch.equal(away.values(name), weight)


@PAIRS
def test_deltas_are_those_of_the_plain_model(
    plain: LanguageModel, away: LanguageModel, statistics: ModelStatistics, tmp_path: Path
) -> None:
    same_edits("rome", plain, away, statistics, tmp_path)


# The embedding's rows and a head tied to them, shifts, codebooks, gradients and descents: every way a method reads a
# model.
@pytest.mark.slow
@pytest.mark.parametrize("away", ["blocks on disk"], indirect=True)
@pytest.mark.parametrize("method", ["memit", "embedding", "ft_l", "lora", "ultraedit", "grace", "steer"])
def test_so_are_those_of_every_other_way_to_read_a_model(
    method: str, plain: LanguageModel, away: LanguageModel, statistics: ModelStatistics, tmp_path: Path
) -> None:
    same_edits(method, plain, away, statistics, tmp_path)


def same_edits(method: str, plain: LanguageModel, away: LanguageModel, statistics: ModelStatistics, folder: Path):
    """Deltas, the answers under them and the drift are equal, and the weights of both are untouched."""
    own = ModelStatistics(away, folder, "samples:200", sampler=plain)
    expected, result = edits(method, plain, statistics), edits(method, away, own)
    for one, two in zip(expected, result, strict=True):
        assert one.weights == two.weights
        assert abs(one.relative_norm(plain) - two.relative_norm(away)) < 1e-5
        for name in one.weights:
            for part in vars(one.factors[name]):
                a, b = getattr(one.factors[name], part), getattr(two.factors[name], part)
                torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)
    prompts, rows = [*SENTENCES[:4]] * 2, [0, 1, -1, 0, 1, -1, 0, 1]
    questions = []
    for lm in (plain, away):
        said = replies(lm, prompts, [(" Rome", " the city of Paris")] * 8, 3, expected, rows)
        questions.append(([r.logp for r in said], [r.text for r in said]))
    np.testing.assert_allclose(np.array(questions[0][0]), np.array(questions[1][0]), atol=1e-5)
    assert questions[0][1] == questions[1][1]
    drifts = [text_drift(lm, SENTENCES[:2], expected) for lm in (plain, away)]
    np.testing.assert_allclose(drifts[0], drifts[1], atol=1e-6)
    assert away.weight_hash == LanguageModel.wrap(away.module, away.tokenizer).weight_hash


@PAIRS
def test_the_model_runs_as_before_after_its_blocks_were_short_circuited(
    plain: LanguageModel, away: LanguageModel, statistics: ModelStatistics
) -> None:
    ids = torch.tensor([plain.encode(SENTENCES[0])])
    forwards = {p: m.__dict__["forward"] for p, m in away.module.named_modules() if "forward" in m.__dict__}
    edits("rome", away, statistics)
    assert {p: m.__dict__["forward"] for p, m in away.module.named_modules() if "forward" in m.__dict__} == forwards
    with torch.no_grad():
        torch.testing.assert_close(away.module(ids).logits, plain.module(ids).logits)
    assert any(p.is_meta for p in away.module.parameters()), "the weights are put away again"


@PAIRS
def test_changes_in_place_are_refused(
    plain: LanguageModel, away: LanguageModel, statistics: ModelStatistics, tmp_path: Path
) -> None:
    (delta, _) = edits("rome", plain, statistics)
    tries: list[Callable] = [
        lambda: delta.applied(away).__enter__(),
        lambda: apply_sequence(away, make_method("rome"), REQUESTS, ModelStatistics(away, tmp_path, "identity")),
        lambda: make_method("rome")(away, REQUESTS, ModelStatistics(away, tmp_path, "identity")),
    ]
    for change in tries:
        with pytest.raises(BadModel, match="offloaded and cannot be changed in place; run the edit as hooks") as error:
            change()
        assert "\n" not in str(error.value)
    with pytest.raises(BadModel, match="no bfloat16 copy"):
        away.half  # noqa: B018
    assert not away.half_wins
    with delta_of_hooks(plain).applied(away):  # what lives in hooks needs no weights
        pass


def delta_of_hooks(lm: LanguageModel) -> Delta:
    return Delta({f"{lm.sites()[1].path}.output": Shift(torch.ones(lm.d_model))})


@PAIRS
def test_an_adapter_holds_the_same_rows(
    plain: LanguageModel, away: LanguageModel, statistics: ModelStatistics, tmp_path: Path
) -> None:
    (delta, _) = edits("embedding", plain, statistics)
    one, two = (export_peft(delta, lm, tmp_path / str(i)) for i, lm in enumerate((plain, away)))
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()


def test_empty_weights_without_a_hook_stay_refused() -> None:
    with init_empty_weights():
        module = random_module("gpt2", len(tokenizer()))
    with pytest.raises(BadModel, match="no offload hook holds its values; load the model with its weights"):
        LanguageModel.wrap(module, tokenizer())


def test_spread_but_not_offloaded_can_be_changed_in_place(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    ids = torch.tensor([lm.encode(SENTENCES[0])])
    module = copy.deepcopy(lm.module)
    places: dict[str, Any] = {
        "model.embed_tokens": "cpu",
        "model.norm": "cpu",
        "model.rotary_emb": "cpu",
        "lm_head": "cpu",
    }
    places |= {f"model.layers.{i}": "cpu" for i in range(LAYERS)}
    spread = LanguageModel.wrap(dispatch_model(module, places, force_hooks=True), lm.tokenizer)
    assert not spread.offloaded and spread.weight_hash == lm.weight_hash and not spread.half_wins
    (delta, _) = edits("rome", lm, ModelStatistics(lm, tmp_path, "identity"))
    with torch.no_grad(), delta.applied(lm), delta.applied(spread):
        torch.testing.assert_close(spread.module(ids).logits, lm.module(ids).logits)
