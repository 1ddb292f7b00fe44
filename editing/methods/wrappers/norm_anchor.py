"""Norm-anchor scaling: every new value as long as the old one (Liu et al. 2026, "Norm Anchors Make Model Edits Last",
arXiv 2602.02543).

A map whose edit turns its output v0 at the key k into v = (W + dW) k gets v ||v0|| / ||v|| instead: the edit may turn
the output, not lengthen it, so that norms do not feed back into each other along a sequence. It also tests how much of
an edit's generalisation is norm.

For any method: with A = dW K over the keys of the requests (one per request, mean over its bare prompts, of the model
as it is) and G the missing outputs, the change becomes dW + G (A^T A)^-1 (dW^T A)^T, which stays in the row space of
dW; for one key and a rank-one change this is the rescaled v* itself. Keys of a higher edited layer are those of the
model without the changes below it. v0 and v are the outputs in the rows that dW changes: the values of a map that also
makes queries and keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.delta import Dense, LowRank, WeightChange
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.wrappers.reworked import Reworked, changed_rows
from editing.model import LanguageModel, expert_at, linear_shape
from editing.solve import bare_weights, group_mean, reaching, states
from editing.text import EditRequest, build_contexts


@dataclass(frozen=True)
class NormAnchor(Reworked):
    """It has no settings of its own.

    FT-M is wrapped by default, as the one method that still reaches its targets in every model measured
    (docs/reference/methods.md). ROME, which the preset "published" wraps as the paper does, needs a longer output in
    some. The anchor holds at the request's lookup, for facts the subject's last token, and FT-M's edits act at the
    last token of the prompt as well, where they may be longer: with lookup last they reach .67 and .42 of the targets
    on two rungs (LOG.md, 2026-11-29).
    """

    name: ClassVar[str] = "norm_anchor"
    summary: ClassVar[str] = "any method's change, with the new values as long as the old (Liu et al. 2026)"
    published: ClassVar[Mapping[str, Any]] = {"inner": "rome"}

    inner: str = "ft_m"

    def reworked(
        self, lm: LanguageModel, name: str, change: WeightChange, requests: Sequence[EditRequest]
    ) -> WeightChange:
        path = name.removesuffix(".weight")
        if linear_shape(lm.submodule(path)) is None:
            raise BadRequest(f"method {self.name}: {name} is no linear map and reads no key; take another inner method")
        contexts = [build_contexts(lm, r, ()) for r in requests]
        if expert_at(lm.module, path):
            contexts = reaching(lm, path, contexts)
            if not contexts:
                return change
        places = [(path, "input"), (path, "output")]
        state = states(lm, [p for c in contexts for p in c.prompts], places)
        weights = [bare_weights(c) for c in contexts]
        key_nI, old_nO = (group_mean(state[place], contexts, weights).double() for place in places)
        left, right = anchored(change, key_nI.T, old_nO.T)
        if isinstance(change, LowRank):
            return LowRank(torch.cat([change.left, left], 1), torch.cat([change.right, right], 1))
        return Dense(change.matrix + left @ right.T)


def anchored(change: WeightChange, key_In: torch.Tensor, old_On: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors (d_out, n) and (d_in, n), float32, of what is added to `change`."""
    if isinstance(change, LowRank):
        moved_On = change.left.double() @ (change.right.double().T @ key_In)
        back_In = change.right.double() @ (change.left.double().T @ moved_On)
    else:
        moved_On = change.matrix.double() @ key_In
        back_In = change.matrix.double().T @ moved_On
    old_On = old_On * changed_rows(change)[:, None]
    new_On = old_On + moved_On
    missing_On = new_On * (old_On.norm(dim=0) / new_On.norm(dim=0).clamp(min=1e-12) - 1)
    gram = moved_On.T @ moved_On
    left = missing_On @ torch.linalg.pinv(gram, hermitian=True)
    return left.float().contiguous(), back_In.float().contiguous()
