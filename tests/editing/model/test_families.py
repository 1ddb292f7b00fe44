"""Sites are found by structure in every dense family, and a spliced run equals a plain one in each."""

from __future__ import annotations

import copy
import dataclasses
from functools import cache
from itertools import product

import pytest
import torch
from torch import nn
from transformers import AutoModel

from editing.errors import BadModel, NoSite
from editing.model.hooks import hooked
from editing.model.language_model import LanguageModel
from editing.model.sites import KINDS, find_layout
from editing.run.splice import Splice
from tests.editing.families import (
    ALIKE,
    BY_CACHE,
    EXPERTS,
    FAMILIES,
    HYBRIDS,
    LAYERS,
    LLAMA,
    REFUSED,
    SOME,
    WIDTH,
    any_module,
    expected_rows,
    random_module,
    refused_module,
    tokenizer,
)
from tests.tiers import fast_are

# Each way in which the values are laid out, each cache, flattened input, parallel blocks, norms behind the map.
EVERY_LAYOUT = (*SOME, "phi3", "codegen")


@cache
def wrapped(family: str) -> LanguageModel:
    """One model for all tests of a family; they put back what they change."""
    return LanguageModel.wrap(random_module(family), tokenizer(), name=family, prefix_ids=(1,))


@pytest.mark.parametrize("family", fast_are(EVERY_LAYOUT, FAMILIES))
def test_sites_are_the_expected_modules(family: str) -> None:
    lm, row = wrapped(family), FAMILIES[family]
    assert lm.n_layers == LAYERS and lm.d_model == WIDTH
    assert [s.path for s in lm.sites("mlp")] == [row.mlp.format(i) for i in range(LAYERS)]
    assert [s.path for s in lm.sites("value")] == [row.value.format(i) for i in range(LAYERS)]
    assert {s.rows for s in lm.sites("value")} == {expected_rows(row)}
    for kind in KINDS:
        for layer, site in enumerate(lm.sites(kind)):
            assert (site.kind, site.layer) == (kind, layer)
            shape = (site.d_in, site.d_out) if site.transposed else (site.d_out, site.d_in)
            assert tuple(lm.weight(site.weight).shape) == shape
            if kind != "value":
                assert site.d_out == WIDTH and site.rows is None


@pytest.mark.parametrize("family", fast_are(("mixtral", "glm4_moe", "biogpt", "gemma4_text"), EXPERTS | ALIKE))
def test_sites_of_other_families_and_a_spliced_edit_of_their_attention(family: str) -> None:
    lm, row = wrapped(family), (EXPERTS | ALIKE)[family]
    assert [s.path for s in lm.sites("value")] == [row.value.format(i) for i in range(LAYERS)]
    if row.mlp:
        dense = 1 if family == "glm4_moe" else 0  # its first block has no experts
        assert [s.path for s in lm.sites("mlp")][dense:] == [row.mlp.format(i) for i in range(dense, LAYERS)]
    else:
        with pytest.raises(NoSite, match="no site of kind 'mlp'; use one of value, attn"):
            lm.sites("mlp")
    for kind in ("attn", *(("mlp",) if row.mlp else ())):
        check_splice(lm, kind)


@pytest.mark.parametrize("family", fast_are(("lfm2", "minimax"), HYBRIDS))
def test_sites_of_hybrids_and_a_spliced_edit_of_each(family: str) -> None:
    lm, row = wrapped(family), HYBRIDS[family]
    assert lm.layout.recurrent
    blocks = lm.layout.blocks
    outputs = [row.mixer, row.output] * (LAYERS // 2)
    assert [s.path for s in lm.sites("attn")] == [f"{b}.{path}" for b, path in zip(blocks, outputs, strict=True)]
    values = {site.layer: site.path for site in lm.sites("value")}
    assert values == {i: f"{blocks[i]}.self_attn.v_proj" for i in row.values}
    for layer in set(range(LAYERS)) - set(row.values):
        with pytest.raises(NoSite, match=f"block {layer} has no site of kind 'value'; blocks ., . have, set depth"):
            lm.site("value", layer)
    if row.mlp:
        assert [s.path for s in lm.sites("mlp")] == [f"{block}.{row.mlp}" for block in blocks]
    else:
        with pytest.raises(NoSite, match="no site of kind 'mlp'; use one of value, attn"):
            lm.sites("mlp")
    for kind in ("block", "attn", *(("mlp",) if row.mlp else ())):
        check_splice(lm, kind)


@pytest.mark.parametrize(("family", "kind"), fast_are([*product(("gpt2", "falcon"), KINDS)], product(FAMILIES, KINDS)))
def test_changing_a_site_changes_the_answer_and_only_its_rows_matter_to_value(family: str, kind: str) -> None:
    lm = wrapped(family)
    ids = torch.tensor([[5, 9, 12, 7, 30]])
    with torch.no_grad():
        before = lm.module(input_ids=ids).logits[0, -1]
        for layer in (0, LAYERS - 1):
            site = lm.sites(kind)[layer]
            weight = lm.weight(site.weight)
            old = weight.detach().clone()
            change = torch.zeros(site.d_out, site.d_in)
            change[site.row_index(change.device)] = torch.randn(
                site.size, site.d_in, generator=torch.Generator().manual_seed(0)
            )
            weight += change.T if site.transposed else change
            after = lm.module(input_ids=ids).logits[0, -1]
            weight.copy_(old)
            assert float((after - before).abs().max()) > 1e-3 * float(before.abs().max())
        if (
            kind == "value" and site.rows is not None
        ):  # with one token the attention is 1, so queries and keys cannot matter
            one = torch.tensor([[5]])
            before = lm.module(input_ids=one).logits[0, -1]
            others = torch.ones(site.d_out, site.d_in)
            others[site.row_index(others.device)] = 0
            weight += others.T if site.transposed else others
            after = lm.module(input_ids=one).logits[0, -1]
            weight.copy_(old)
            assert torch.allclose(before, after, rtol=1e-4, atol=1e-5 * float(before.abs().max()))


@pytest.mark.parametrize("family", REFUSED)
def test_other_architectures_are_refused_with_the_reason(family: str) -> None:
    with pytest.raises(NoSite, match=REFUSED[family].reason):
        find_layout(refused_module(family))


def test_a_headless_model_is_refused() -> None:
    module = AutoModel.from_config(random_module("gpt2").config).eval()
    with pytest.raises(NoSite, match="output embedding"):
        find_layout(module)


class _Nothing(nn.Module):
    """Stands where an attention-only model has no MLP."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(hidden)


def test_an_attention_only_model_has_attention_sites_but_no_mlp() -> None:
    module = random_module("gpt2")
    for block in module.transformer.h:
        block.mlp = _Nothing()
    lm = LanguageModel.wrap(module, tokenizer(), name="attention-only", prefix_ids=(1,))
    assert [s.path for s in lm.sites("attn")] == [f"transformer.h.{i}.attn.c_proj" for i in range(LAYERS)]
    assert {s.rows for s in lm.sites("value")} == {tuple(range(2 * WIDTH, 3 * WIDTH))}
    with pytest.raises(NoSite, match="no site of kind 'mlp'; use one of value, attn"):
        lm.sites("mlp")
    with pytest.raises(NoSite, match="no site kind"):
        lm.sites("embedding")


def test_an_mlp_that_writes_nothing_is_no_site() -> None:
    module = random_module("gpt2", n_inner=1)
    last = [block.mlp.c_proj for block in module.transformer.h]
    with torch.no_grad():
        for down in last[1:]:
            down.weight.zero_(), down.bias.zero_()
    assert len(find_layout(module).sites["mlp"]) == LAYERS  # the first block's still writes
    with torch.no_grad():
        last[0].weight.zero_(), last[0].bias.zero_()
    layout = find_layout(module)
    assert not layout.sites["mlp"] and len(layout.sites["attn"]) == len(layout.sites["value"]) == LAYERS
    with torch.no_grad():
        last[-1].bias[3] = 0.5
    assert len(find_layout(module).sites["mlp"]) == LAYERS


def test_one_layer_and_one_head_are_enough() -> None:
    lm = LanguageModel.wrap(
        random_module("gpt2", n_layer=1, num_hidden_layers=1, n_head=1, num_attention_heads=1),
        tokenizer(),
        prefix_ids=(1,),
    )
    assert [s.path for s in lm.sites("mlp")] == ["transformer.h.0.mlp.c_proj"]
    assert lm.sites("value")[0].rows == tuple(range(2 * WIDTH, 3 * WIDTH))


LENGTHS, LOOKUPS = (12, 7, 9, 3), (8, 2, 6, 0)  # the last has nothing left of its lookup; 12 is beyond a window of 5


@pytest.mark.parametrize(
    ("family", "kind"),
    fast_are(
        [*((family, "block") for family in BY_CACHE), ("gpt2", "attn"), ("gemma2", "mlp"), ("phi", "mlp")],
        product(FAMILIES, ("mlp", "attn", "block")),
    ),
)
def test_a_spliced_run_equals_a_plain_one(family: str, kind: str) -> None:
    """Left-padded prefixes, an empty one, sliding windows, grouped heads, ALiBi, learned and rotary positions."""
    check_splice(wrapped(family), kind)


def check_splice(lm: LanguageModel, kind: str) -> None:
    draw = torch.Generator().manual_seed(0)
    sequences = [torch.randint(3, 99, (n,), generator=draw).tolist() for n in LENGTHS]
    change = 3 * torch.randn(len(LENGTHS), WIDTH, generator=draw)
    start = 2
    path = lm.layout.blocks[start] if kind == "block" else lm.sites(kind)[start].path

    def adding(amount: torch.Tensor, columns: list[int]):
        def hook(module: nn.Module, args: tuple, output: object) -> object:
            hidden = output[0] if isinstance(output, tuple) else output
            shaped = hidden.clone().reshape(len(columns), -1, WIDTH)
            for row, column in enumerate(columns):
                shaped[row, column] += amount[row]
            shaped = shaped.reshape(hidden.shape)
            return (shaped, *output[1:]) if isinstance(output, tuple) else shaped

        return path, hook

    splice = Splice.prepare(lm, sequences, LOOKUPS, start)
    last = torch.tensor([n - p - 1 for n, p in zip(LENGTHS, LOOKUPS, strict=True)])
    with torch.no_grad():
        fast = splice.run((torch.arange(len(LENGTHS)), last), [adding(change, [0] * len(LENGTHS))])
        some = torch.tensor([2, 0])
        chosen = splice.select(some).run((torch.arange(2), last[some]), [adding(change[some], [0, 0])])
    assert torch.allclose(chosen, fast[some], rtol=1e-4, atol=1e-4 * float(fast.abs().max()))
    for i, (sequence, lookup) in enumerate(zip(sequences, LOOKUPS, strict=True)):
        ids = torch.tensor([sequence])
        with torch.no_grad():
            plain = lm.module(input_ids=ids).logits[0, -1]
            with hooked(lm, [adding(change[i : i + 1], [lookup])]):
                slow = lm.module(input_ids=ids).logits[0, -1]
        assert float((fast[i] - slow).abs().max()) < 1e-4 * float(slow.abs().max())
        assert float((plain - slow).abs().max()) > 1e-3 * float(slow.abs().max())


def test_the_model_is_whole_again_after_a_failing_splice() -> None:
    lm = wrapped("llama")
    ids = torch.tensor([[5, 9, 12, 7]])
    with torch.no_grad():
        before = lm.module(input_ids=ids).logits
        splice = Splice.prepare(lm, [[5, 9, 12, 7]], [2], 2)

        def fail(module: nn.Module, args: tuple, output: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            splice.run((torch.tensor([0]), torch.tensor([1])), [(lm.sites()[3].path, fail)])
        assert torch.equal(lm.module(input_ids=ids).logits, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", ["afmoe", "laguna"])
def test_a_gate_behind_the_values_is_not_taken_for_them(family: str, dtype: torch.dtype) -> None:
    """In 16 bits rounding hid which of the two the attention's output is proportional to."""
    layout = find_layout(any_module(family).to(dtype))
    assert [s.path for s in layout.sites["value"]] == [LLAMA.value.format(i) for i in range(LAYERS)]


def test_sites_are_frozen() -> None:
    site = wrapped("llama").sites()[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        site.layer = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_a_block_that_returns_neither_tensor_nor_tuple_is_refused() -> None:
    """openai-gpt's blocks return a list."""
    with pytest.raises(NoSite, match="OpenAIGPTLMHeadModel: a block returns a list"):
        find_layout(random_module("openai-gpt"))


def test_modules_whose_parts_are_not_what_they_seem_are_refused() -> None:
    """A compiled model ended in an IndexError, and of a map with a LoRA the LoRA's second factor was edited."""
    lm = wrapped("gpt2")

    def wrap(module: torch.nn.Module) -> None:
        LanguageModel.wrap(module, lm.tokenizer)

    with pytest.raises(BadModel, match="no model of transformers; wrap the one that it holds"):
        wrap(torch.nn.DataParallel(lm.module))
    with pytest.raises(BadModel, match="is compiled, and no hook runs in it"):
        wrap(torch.compile(copy.deepcopy(lm.module), backend="eager"))
    in_place = copy.deepcopy(lm.module)
    in_place.transformer.h[1].compile(backend="eager")
    with pytest.raises(BadModel, match="is compiled"):
        wrap(in_place)
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        copy.deepcopy(lm.module), peft.LoraConfig(target_modules=["c_proj"], r=2, fan_in_fan_out=True)
    )
    with pytest.raises(BadModel, match=r"holds PEFT adapters; wrap what `merge_and_unload\(\)` returns"):
        wrap(adapted)
    wrap(adapted.merge_and_unload())


def test_the_refusal_of_a_site_names_routed_experts() -> None:
    with pytest.raises(NoSite, match="no site of kind 'mlp'; use one of value, attn, expert"):
        wrapped("mixtral").sites("mlp")
