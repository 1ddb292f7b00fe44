"""Caches of keys and values: what grows in place is what copies would be."""

from __future__ import annotations

import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from editing.run.cache_layers import COLUMNS, GrowingLayer
from editing.stats import sampling
from tests.editing.families import BY_CACHE, tiny_lm
from tests.tiers import fast_are


def test_growing_equals_copying_and_writes_in_place() -> None:
    """Through a long beginning, single tokens, more room, repeated texts and another order."""
    draw = torch.Generator().manual_seed(0)
    grown, copied = GrowingLayer(), DynamicLayer()
    places = []
    for width in (5, *[1] * (COLUMNS + 3)):
        new = [torch.randn(2, 3, width, 4, generator=draw) for _ in range(2)]
        for ours, theirs in zip(grown.update(*new), copied.update(*new), strict=True):
            assert torch.equal(ours, theirs)
        places.append(grown.keys.data_ptr())
    assert len(set(places)) == 2  # room was made twice
    for layer in (grown, copied):
        layer.batch_repeat_interleave(2)
        layer.reorder_cache(torch.tensor([3, 0, 1, 2]))
    new = [torch.randn(4, 3, 1, 4, generator=draw) for _ in range(2)]
    for ours, theirs in zip(grown.update(*new), copied.update(*new), strict=True):
        assert torch.equal(ours, theirs)
    assert grown.get_seq_length() == copied.get_seq_length()


@pytest.mark.parametrize("family", fast_are(("gpt2", "gemma3_text"), BY_CACHE))
def test_texts_drawn_are_the_same_to_the_bit(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm(family)
    draws = [sampling.sample_tokens(lm, 6, 40, seed=1, read_once=True, opening="The city")]
    monkeypatch.setattr(sampling, "step_cache", lambda recurrent: DynamicCache())
    draws.append(sampling.sample_tokens(lm, 6, 40, seed=1, read_once=True, opening="The city"))
    assert torch.equal(*draws)
