"""Edits are written into weights by one owner: undone bit for bit, in order, and followed by the one bfloat16 copy."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import pytest
import torch
from torch.utils.hooks import RemovableHandle

from editing.delta.changes import LowRank, Shift
from editing.delta.delta import Delta, compose
from editing.delta.peft_export import export_peft
from editing.errors import BadModel, UserError
from editing.eval import continuation_logprobs
from editing.methods import make_method
from editing.methods.sequence import Step, apply_sequence
from editing.model.language_model import LanguageModel, hash_weights
from editing.model.weights import WeightWriter
from editing.stats.statistics import ModelStatistics
from tests.editing.families import tiny_lm
from tests.editing.worked import PROMPTS, REQUESTS, TARGETS


def change(lm: LanguageModel, layer: int, seed: int, **provenance: str) -> Delta:
    site, draw = lm.sites()[layer], torch.Generator().manual_seed(seed)
    factors = LowRank(torch.randn(site.d_out, 1, generator=draw), torch.randn(site.d_in, 1, generator=draw))
    return Delta({site.weight: factors}, provenance)


def assert_copy_follows(lm: LanguageModel) -> None:
    for (name, weight), (_, half) in zip(lm.module.named_parameters(), lm.half.module.named_parameters(), strict=True):
        assert torch.equal(weight.to(torch.bfloat16), half), name


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every module that is deep-copied."""
    made: list[object] = []
    deepcopy = copy.deepcopy

    def counting(value, *args, **kwargs):
        if isinstance(value, torch.nn.Module):
            made.append(value)
        return deepcopy(value, *args, **kwargs)

    monkeypatch.setattr(copy, "deepcopy", counting)
    return made


def test_a_sequence_in_bfloat16_copies_the_model_once(tmp_path: Path, copies: list[object]) -> None:
    lm = tiny_lm("gpt2")
    statistics = ModelStatistics(lm, tmp_path, "identity")
    before, steps = hash_weights(lm.module), []

    def look(step: Step) -> None:
        assert_copy_follows(step.lm)
        steps.append(hash_weights(step.lm.half.module))
        with step.unedited() as plain:
            assert hash_weights(plain.module) == before
            assert_copy_follows(plain)

    method = make_method("rome", precision="bfloat16", steps=3, short_prefixes=1, long_prefixes=0)
    apply_sequence(lm, method, REQUESTS[:3], statistics, on_step=look)
    assert len(set(steps)) == 3 and len(copies) == 1
    assert hash_weights(lm.module) == before
    assert_copy_follows(lm)


def test_applying_an_edit_keeps_the_copy_up_to_date(copies: list[object]) -> None:
    lm = tiny_lm("gpt2")
    short, plain = lm.with_batches(0.5), hash_weights(lm.half.module)
    with change(lm, 1, 0).applied(lm), change(lm, 2, 1).applied(lm):
        assert_copy_follows(lm)
        assert short.half.module is lm.half.module and short.half.batch_scale == 0.5
        assert hash_weights(lm.half.module) != plain
    assert hash_weights(lm.half.module) == plain and len(copies) == 1


@pytest.mark.parametrize("wins", [True, False])
def test_a_copy_made_for_passes_is_let_go(wins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes half of the weights' memory; one that was there before stays, and follows the edits."""
    monkeypatch.setattr(LanguageModel, "half_wins", wins)
    lm = tiny_lm("gpt2")
    with lm.fastest() as source, lm.with_batches(0.5).fastest() as again:
        assert again.module is source.module and (source is lm) != wins
        assert source.module.config._attn_implementation == lm.module.config._attn_implementation == "sdpa"
    assert lm.state.half is None
    kept = lm.half
    with lm.fastest():
        pass
    assert lm.half is kept and kept.module.config._attn_implementation == "eager"


def test_a_tied_weight_named_twice_is_restored() -> None:
    lm = tiny_lm("gpt2")
    before, weight = hash_weights(lm.module), lm.weight("lm_head.weight")
    with lm.writing() as weights:
        weights.write("transformer.wte.weight", weight + 1)
        weights.write("lm_head.weight", weight + 1)
    assert hash_weights(lm.module) == before


def test_edits_left_out_of_order_are_all_undone_and_refused() -> None:
    lm = tiny_lm("gpt2")
    before = hash_weights(lm.module)
    first, second = change(lm, 1, 0).applied(lm), change(lm, 1, 1).applied(lm)
    first.__enter__()
    second.__enter__()
    with pytest.raises(UserError, match="an edit was taken out while 1 made after it remained"):
        first.__exit__(None, None, None)
    assert hash_weights(lm.module) == before
    second.__exit__(None, None, None)
    assert hash_weights(lm.module) == before


def test_an_edit_of_another_model_is_refused() -> None:
    lm, other = tiny_lm("gpt2", 0), tiny_lm("gpt2", 1)
    delta = change(lm, 1, 0, model_hash=lm.weight_hash)
    for use in (
        lambda: delta.applied(other).__enter__(),
        lambda: continuation_logprobs(other, PROMPTS, TARGETS, [delta]),
    ):
        with pytest.raises(BadModel, match="computed on another model"):
            use()
    with pytest.raises(BadModel, match="computed on another model"), compose([delta]).applied(other):
        pass
    with Delta(delta.factors).applied(other), delta.applied(lm):
        pass


@pytest.mark.parametrize("place", ["transformer.h.9.mlp.c_proj.weight", "model.layers.0.mlp.down_proj.output"])
def test_a_place_that_the_model_lacks_is_named(place: str, tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    d_out = lm.sites()[0].d_out
    shift = LowRank(torch.ones(d_out, 1), torch.ones(8, 1)) if place.endswith("weight") else Shift(torch.ones(d_out))
    delta = Delta({place: shift})
    for use in (
        lambda: delta.applied(lm).__enter__(),
        lambda: continuation_logprobs(lm, PROMPTS, TARGETS, [delta]),
        lambda: export_peft(delta, lm, tmp_path / "adapter"),
    ):
        with pytest.raises(BadModel, match=f"has no {place}"):
            use()


def test_two_threads_on_one_model_are_refused_in_one_line() -> None:
    lm = tiny_lm("gpt2")
    inside, over = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        inside.set()
        assert over.wait(30)

    handle = lm.module.get_submodule(lm.layout.blocks[0]).register_forward_hook(wait)
    first = threading.Thread(target=continuation_logprobs, args=(lm, PROMPTS[:1], TARGETS[:1]))
    first.start()
    assert inside.wait(30)
    try:
        with pytest.raises(UserError, match="two threads run this model at once") as error:
            continuation_logprobs(lm, PROMPTS[:1], TARGETS[:1])
        assert "\n" not in str(error.value)
    finally:
        over.set()
        first.join()
        handle.remove()
    continuation_logprobs(lm, PROMPTS[:1], TARGETS[:1])


def test_an_edit_of_one_thread_is_not_seen_by_another() -> None:
    lm, refused = tiny_lm("gpt2"), []

    def use() -> None:
        for work in (
            lambda: continuation_logprobs(lm, PROMPTS[:1], TARGETS[:1]),
            lambda: lm.generate(PROMPTS[0], 1),
            lambda: change(lm, 2, 1).applied(lm).__enter__(),
        ):
            try:
                work()
            except UserError as error:
                refused.append(str(error))

    with change(lm, 1, 0).applied(lm):
        other = threading.Thread(target=use)
        other.start()
        other.join()
        lm.generate(PROMPTS[0], 1)
    assert len(refused) == 3 and all("another has an edit applied" in line for line in refused)
    before = list(refused)
    other = threading.Thread(target=lambda: lm.generate(PROMPTS[0], 1))
    other.start()
    other.join()
    assert refused == before and not lm.state.writers


def test_a_model_can_be_deep_copied() -> None:
    lm = tiny_lm("gpt2")
    lm.half  # noqa: B018
    twin = copy.deepcopy(lm)
    with change(lm, 1, 0).applied(twin):
        assert hash_weights(twin.module) != hash_weights(lm.module)
        assert_copy_follows(twin)
        assert_copy_follows(lm)


def test_what_is_printed_is_short() -> None:
    lm = tiny_lm("gpt2")
    assert repr(lm) == "LanguageModel('tiny-gpt2', layers=4, d_model=32, 0.1M parameters, float32, cpu)"
    delta = change(lm, 1, 0, method="rome")
    assert repr(delta).startswith("Delta(rome, 1 LowRank, at transformer.h.1.mlp.c_proj.weight, norm ")
    both = compose([delta, change(lm, 2, 1)])
    assert "2 LowRank, at transformer.h.1.mlp.c_proj.weight ... transformer.h.2.mlp.c_proj.weight" in repr(both)
    assert repr(Delta({}, context="New fact: a.")) == "Delta(context 'New fact: a.')"
    assert repr(Delta({})) == "Delta(no change)"


def shift(lm: LanguageModel) -> Delta:
    """A change that exists as a hook only, behind the first block."""
    vector = 20 * torch.randn(lm.d_model, generator=torch.Generator().manual_seed(0))
    return Delta({f"{lm.layout.blocks[0]}.output": Shift(vector)})


def answer(lm: LanguageModel) -> torch.Tensor:
    ids = torch.tensor([lm.encode("The capital of France")])
    with torch.no_grad():
        return lm.module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()


def test_statistics_are_those_of_the_unedited_model_under_an_edit_by_hooks(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2", spread=0.3)
    site = lm.sites("mlp")[2]
    plain, under = (ModelStatistics(lm, tmp_path / name, "samples:800") for name in ("plain", "under"))
    expected = plain.covariance(site).matrix, plain.prefixes({10: 5})
    with shift(lm).applied(lm):
        edited = answer(lm)
        assert under.sequences() == plain.sequences()
        assert torch.equal(under.covariance(site).matrix, expected[0]) and under.prefixes({10: 5}) == expected[1]
        with lm.unedited(), lm.unedited():
            unedited = answer(lm)
        assert torch.equal(answer(lm), edited)
    assert torch.equal(answer(lm), unedited) and not torch.equal(edited, unedited)


@pytest.mark.parametrize("before", [True, False])
def test_the_copy_has_an_edit_by_hooks_as_long_as_the_model(before: bool) -> None:
    """Whether the copy was there before the edit, or is made under it, where deep copies keep hooks."""
    lm = tiny_lm("gpt2", spread=0.3)
    plain, size = answer(lm), float(answer(lm).norm())
    if before:
        assert float((answer(lm.half) - plain).norm()) < 0.03 * size
    with shift(lm).applied(lm):
        edited = answer(lm)
        assert float((answer(lm.half) - edited).norm()) < 0.03 * size < float((edited - plain).norm())
        with lm.unedited():
            assert float((answer(lm.half) - plain).norm()) < 0.03 * size
        assert float((answer(lm.half) - edited).norm()) < 0.03 * size
    assert float((answer(lm.half) - plain).norm()) < 0.03 * size and torch.equal(answer(lm), plain)
    assert not any(module._forward_hooks for one in (lm, lm.half) for module in one.module.modules())


def test_an_interrupt_while_an_edit_is_taken_out_leaves_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of putting weights and hooks back, twice: a stop in a notebook may come at any moment."""
    lm = tiny_lm("gpt2")
    width = lm.d_model
    shift = Delta({f"{lm.sites()[0].path}.output": Shift(torch.ones(width))})
    two = compose([change(lm, 0, 1), change(lm, 1, 2), shift])
    before, left = hash_weights(lm.module), [2, 2]

    def interrupting(kind: type, name: str, which: int) -> None:
        plain = getattr(kind, name)

        def stopped(self, *args):
            if leaving and left[which]:
                left[which] -= 1
                raise KeyboardInterrupt
            return plain(self, *args)

        monkeypatch.setattr(kind, name, stopped)

    interrupting(WeightWriter, "_copy", 0)
    interrupting(RemovableHandle, "remove", 1)
    leaving = False
    with pytest.raises(KeyboardInterrupt), two.applied(lm):
        assert hash_weights(lm.module) != before
        leaving = True
    assert left == [0, 0] and hash_weights(lm.module) == before and not lm.state.writers
    assert not any(module._forward_hooks for module in lm.module.modules())
