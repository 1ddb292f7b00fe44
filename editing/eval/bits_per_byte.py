"""Bits per byte of a text: how well a model predicts it, comparable across tokenizers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from editing.errors import BadRequest
from editing.lazy import torch
from editing.model import LanguageModel
from editing.run import Budget, forward, pad

LOGIT_ROWS = 2048  # rows of logits held at once


def bits_per_byte(
    lm: LanguageModel, text: str | Sequence[str], *, window: int = 256, batch_tokens: int = 2048
) -> float:
    """-log2 P(text) / number of UTF-8 bytes: tokenizer-fair, lower is stronger.

    The text is read in windows of `window` tokens, each behind the model's prefix; every token is predicted once, with
    at least half a window before it. Several texts are read independently: all their bits over all their bytes.

    Raises:
        BadRequest: no text, or only empty ones.
    """
    texts = [text] if isinstance(text, str) else list(text)
    if not any(texts):
        raise BadRequest("bits per byte: the text is empty; give one with at least one character")
    head = list(lm.prefix_ids) or [lm.pad_id]
    stride = min(window, lm.max_length - len(head)) // 2
    pieces: list[tuple[list[int], int]] = []  # tokens with their head, and how many at the end are scored
    for one in texts:
        ids = lm.tokenizer(one, add_special_tokens=False, verbose=False)["input_ids"]
        for begin in range(0, len(ids), stride):
            context = ids[max(0, begin - stride) : begin]
            scored = ids[begin : begin + stride]
            pieces.append(([*head, *context, *scored], len(scored)))

    def measure(members: list[int]) -> float:
        nats = 0.0
        batch = pad([pieces[i][0] for i in members], lm, side="right")
        spots = [
            (row, n - 1, pieces[i][0][n])
            for row, i in enumerate(members)
            for n in range(len(pieces[i][0]) - pieces[i][1], len(pieces[i][0]))
        ]
        for begin in range(0, len(spots), LOGIT_ROWS):
            part = torch.tensor(spots[begin : begin + LOGIT_ROWS], device=lm.device)
            logits = forward(lm, batch, gather=(part[:, 0], part[:, 1]))
            assert logits is not None
            nats -= float(logits.float().log_softmax(-1).gather(1, part[:, 2:]).double().sum())
        return nats

    budget = Budget(lm.batch_tokens(batch_tokens), "measuring bits per byte")
    with torch.no_grad():
        total = sum(nats for _, nats in budget.run([len(p) for p, _ in pieces], measure))
    return total / math.log(2) / sum(len(one.encode()) for one in texts)
