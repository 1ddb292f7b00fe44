"""Evaluation and covariances done as the original code does them: one edit in the weights, one text at a time, one
layer a pass.

EasyEdit's `compute_edit_quality` and ROME's `test_batch_prediction` change the weights, read every prompt with every
continuation behind it from the first token on, and put the weights back; ROME's `layer_stats` reads the corpus once per
layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from editing.delta.delta import Delta
from editing.model.language_model import LanguageModel
from editing.model.sites import Site
from editing.run.trace import Trace
from editing.text.tokens import continuation_ids


def continuation_logprobs(
    lm: LanguageModel,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    deltas: Sequence[Delta],
    rows: Sequence[int],
) -> list[np.ndarray]:
    """log P(continuation | prompt) in nats of every pair; prompt i under `deltas[rows[i]]`, which is put into the
    weights."""
    result = [np.zeros(len(c)) for c in continuations]
    for r, delta in enumerate(deltas):
        with delta.applied(lm), torch.no_grad():
            for i in (i for i, row in enumerate(rows) if row == r):
                head = lm.encode(prompts[i])
                for j, text in enumerate(continuations[i]):
                    tail = continuation_ids(lm, prompts[i], text)
                    logits = lm.module(torch.tensor([[*head, *tail]], device=lm.device), use_cache=False).logits
                    log_p = logits[0].float().log_softmax(-1)
                    result[i][j] = sum(float(log_p[len(head) - 1 + t, token]) for t, token in enumerate(tail))
    return result


def covariance(lm: LanguageModel, sequences: Sequence[Sequence[int]], site: Site, batch: int = 32) -> torch.Tensor:
    """(d_in, d_in) E[k k^T] of one site: `batch` sequences at a time, run up to the site and no further."""
    total, count = torch.zeros(site.d_in, site.d_in, dtype=torch.float64), 0
    for begin in range(0, len(sequences), batch):
        rows = sequences[begin : begin + batch]
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[lm.pad_id] * (width - len(row))] for row in rows], device=lm.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=lm.device)
        with torch.no_grad(), Trace(lm.module, site.path, retain_input=True, stop=True) as trace:
            lm.module(input_ids=ids, attention_mask=mask, use_cache=False)
        keys = trace.input.reshape(-1, site.d_in)[mask.reshape(-1).bool()].float()
        total += (keys.T @ keys).double().cpu()
        count += len(keys)
    return (total / count).float()
