"""Bits of a text behind a context are those of the tokens that stand there."""

from __future__ import annotations

from math import log

import pytest
import torch

from editing.delta import Delta
from editing.eval import text_drift
from tests.editing.families import tiny_lm


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_bits_behind_a_context_are_those_of_the_text_there(family: str) -> None:
    lm = tiny_lm(family)
    text, context = "The capital of France is Paris.", "The dairy food made from milk curds is called the cheese."
    _, bits = text_drift(lm, [text], [Delta({}, {}, context)])
    begin, whole = len(lm.encode(context)), lm.encode(f"{context} {text}")
    said = lm.module(input_ids=torch.tensor([whole])).logits[0].float().log_softmax(-1)
    nats = -sum(float(said[i - 1, whole[i]]) for i in range(begin, len(whole)))
    assert bits[0, 0] == pytest.approx(nats / log(2) / len(text.encode()), rel=1e-5)
