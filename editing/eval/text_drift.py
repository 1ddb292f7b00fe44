"""How far edits move a model on texts that have nothing to do with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from editing.delta import Delta
from editing.errors import BadRequest
from editing.eval.continuations import LOGIT_ROWS
from editing.eval.replies import BATCH_TOKENS, end_of
from editing.eval.versions import last_logits
from editing.lazy import torch
from editing.model import LanguageModel
from editing.run import Budget
from editing.text import character_spans


def text_drift(
    lm: LanguageModel, texts: Sequence[str], deltas: Sequence[Delta], *, batch_tokens: int = BATCH_TOKENS
) -> tuple[np.ndarray, np.ndarray]:
    """How far each edit moves the model on unrelated texts; what is longer than the model's context is not read.

    Returns:
        (n_deltas, n_texts) mean KL(base || edited) per token in nats, and (n_deltas, n_texts) bits per byte of the
        edited model, over the bytes that are read.

    Raises:
        BadRequest: an empty text.
    """
    if "" in texts:
        raise BadRequest(f"drift: text {list(texts).index('') + 1} of {len(texts)} is empty; leave it out")
    divergence, bits = np.zeros((len(deltas), len(texts))), np.zeros((len(deltas), len(texts)))
    budget = Budget(lm.batch_tokens(batch_tokens), "measuring drift")
    for t, text in enumerate(texts):
        plain = lm.encode(text)[: lm.max_length]
        scored = len(plain) - max(len(lm.prefix_ids), 1)
        versions = [_behind(lm, d.context, text) if d.context else plain for d in deltas]
        size = _bytes_read(lm, text)

        def unedited(_: list[int], plain=plain, scored=scored) -> torch.Tensor:
            return last_logits(lm, [plain], scored, deltas, [-1])[0].float().log_softmax(-1)

        def compare(rows: list[int], base: torch.Tensor, versions=versions, scored=scored):
            both, probability = [], base.exp()
            read = [versions[r] for r in rows]
            for ids, logits in zip(read, last_logits(lm, read, scored, deltas, rows), strict=True):
                # its own: behind a context the first word has another token
                targets = torch.tensor(ids[-scored:], device=lm.device)
                edited = logits.float().log_softmax(-1)  # of one edit at a time: all are as large as the logits
                nats = -edited.gather(1, targets[:, None]).sum()
                both.append(torch.stack([(probability * (base - edited)).sum(-1).mean(), nats]))
            return torch.stack(both, 1).cpu().numpy()

        with torch.no_grad():
            ((_, base),) = budget.run([len(plain)], unedited)
            widths = [max(len(v), batch_tokens * scored // LOGIT_ROWS) for v in versions]
            for rows, (kl, nats) in budget.run(widths, lambda rows, base=base: compare(rows, base)):
                divergence[rows, t], bits[rows, t] = kl, nats / math.log(2) / size
    return divergence, bits


def _bytes_read(lm: LanguageModel, text: str) -> int:
    """UTF-8 bytes of `text`, without what is longer than the model's context."""
    room, spans = lm.max_length - len(lm.prefix_ids), character_spans(lm, text)
    return len((text if len(spans) <= room else text[: spans[room - 1][1]]).encode())


def _behind(lm: LanguageModel, context: str, text: str) -> list[int]:
    """`text` behind the end of `context` that fits, cut where the text read alone is cut."""
    unread = max(0, len(lm.encode(text)) - lm.max_length)
    ids = lm.encode(f"{context} {text}")
    return end_of(lm, ids[: len(ids) - unread], lm.max_length)
