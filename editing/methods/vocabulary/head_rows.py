"""Methods that change rows of the head, tied to the embedding or not, so that the model says other tokens and reads all
as before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editing.delta import Change, LowRank, TokenShift, embedding_scale
from editing.lazy import torch
from editing.methods.base import Method, Placement
from editing.model import HEAD, LanguageModel, embedding_path, head_site, tied_head
from editing.text import EditRequest


@dataclass(frozen=True)
class HeadRows(Method):
    """A method that edits behind all blocks."""

    @property
    def placed_by(self) -> tuple[str, ...]:
        """None: it edits no block."""
        return ()

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        """Behind all blocks: site "head", depth 1."""
        return Placement(HEAD, "last", (), 1.0)


def head_weight(lm: LanguageModel) -> str:
    """Name of the parameter that holds the head's rows; that of the embedding where the two are tied."""
    if tied_head(lm.module):
        return f"{embedding_path(lm.module)}.weight"
    return head_site(lm.module, lm.n_layers).weight


def head_change(lm: LanguageModel, tokens: Sequence[int], left: torch.Tensor, right: torch.Tensor) -> dict[str, Change]:
    """The rows of `tokens` changed by left @ right.T, by name of the changed place; none without tokens.

    Where the head is tied, the embedding's output at these tokens is shifted back, so that reading stays as it is.

    Args:
        left: (len(tokens), r). right: (d_model, r).
    """
    if not tokens:
        return {}
    weight, ids = head_weight(lm), torch.tensor(list(tokens))
    left, right = left.float(), right.float()
    whole = torch.zeros(len(lm.values(weight)), left.shape[1]).index_copy(0, ids, left)
    changes: dict[str, Change] = {weight: LowRank(whole, right.contiguous())}
    if tied_head(lm.module):
        scale = embedding_scale(lm.module.get_input_embeddings())
        changes[f"{embedding_path(lm.module)}.output"] = TokenShift(ids, -scale * (left @ right.T))
    return changes
