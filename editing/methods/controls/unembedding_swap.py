"""The trivial rename: the unembedding rows of the old and the new answer's first token swapped.

Wherever the model would say token A it says B, and the other way round, whatever the text; nothing inside the model is
touched. With w_A and w_B the rows of the head, dW = (e_A - e_B) (w_B - w_A)^T, a change of rank one. A is what the
unedited model says first behind the request's prompt, B the first token of the target. It is the baseline of every
rename: an edit that does no better has found nothing that is finer than a token.

Where the head is tied to the embedding, the embedding's output at A and B is shifted back, so that reading stays as it
is. Where the head has a bias (Phi, GPT-J), its entries change places too, as a shift of the head's output. Prompts
whose answer is the target already change nothing; where two prompts swap one token with two others, the first of them
counts. The provenance has the swaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from editing.delta import Change, Delta, Shift
from editing.lazy import torch
from editing.methods.vocabulary.head_rows import HeadRows, head_change, head_weight
from editing.methods.vocabulary.unembedding import read_answers
from editing.model import LanguageModel, head_site
from editing.stats import ModelStatistics
from editing.text import EditRequest, build_contexts


@dataclass(frozen=True)
class UnembeddingSwap(HeadRows):
    """It has no settings of its own; `site`, `lookup`, `depth` and `seed` do not matter to it."""

    name: ClassVar[str] = "unembedding_swap"
    summary: ClassVar[str] = "baseline: the trivial rename, two rows of the head swapped"
    uses_covariance: ClassVar[bool] = False

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        return [self(lm, [request], statistics) for request in requests]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """The swaps of all requests' prompts."""
        swaps: dict[int, int] = {}
        for request in requests:
            prompts = build_contexts(lm, request, (), "last").prompts
            read = read_answers(lm, prompts)  # of one request at a time: it holds all logits
            said = read.logits[torch.tensor(read.first)].argmax(1).tolist()
            for prompt, old in zip(prompts, said, strict=True):
                new = prompt.target[0]
                if old != new and not {old, new} & (set(swaps) | set(swaps.values())):
                    swaps[old] = new
        names = [[lm.tokenizer.decode([i]) for i in pair] for pair in swaps.items()]
        made = self.provenance(lm, requests, statistics) | {"swaps": names}
        return Delta(self._changes(lm, swaps), made)

    def _changes(self, lm: LanguageModel, swaps: Mapping[int, int]) -> dict[str, Change]:
        """The rows of `swaps` (old -> new) exchanged in the head, by name of the changed place."""
        if not swaps:
            return {}
        old, new = list(swaps), list(swaps.values())
        rows = lm.values(head_weight(lm))[old + new].float().cpu()
        difference = rows[len(old) :] - rows[: len(old)]
        left = torch.cat([torch.eye(len(old)), -torch.eye(len(old))])
        changes = head_change(lm, old + new, left, difference.T)
        site = head_site(lm.module, lm.n_layers)
        if getattr(lm.submodule(site.path), "bias", None) is not None:
            bias = lm.values(f"{site.path}.bias").float().cpu()
            moved = torch.zeros(site.d_out).index_copy(0, torch.tensor(old + new), bias[new + old] - bias[old + new])
            changes[f"{site.path}.output"] = Shift(moved)
        return changes
