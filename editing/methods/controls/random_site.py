"""The control "random key": ROME's update at a layer and in a key direction that mean nothing (after Hase et al. 2023,
"Does Localization Inform Editing?", section 4).

The layer is drawn from all but the one ROME would take; v* is optimised there; then the key direction u of
dW = left u^T is replaced by a random one of the same length, so the change is as large as ROME's at that layer. It
fails almost by construction and shows only that the key matters; `random_layer` shows whether the layer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from editing.delta import Delta, LowRank
from editing.lazy import torch
from editing.methods.base import Placement
from editing.methods.locate_then_edit.rome import ROME
from editing.model import LanguageModel
from editing.seeds import seed_for
from editing.stats import ModelStatistics
from editing.text import EditRequest


@dataclass(frozen=True)
class RandomSite(ROME):
    """Settings are ROME's. Layer and direction depend on `seed`, the request's id and nothing else."""

    name: ClassVar[str] = "random_site"
    summary: ClassVar[str] = "control (random key): ROME's update at a random layer, the key replaced by noise"

    move_above: float = 0.0

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        usual = super().placement(lm, request)
        layers = [i for i in lm.layers_with(usual.site) if i not in usual.layers] or list(usual.layers)
        layer = layers[seed_for(self.seed, f"layer {request.id}") % len(layers)]
        return Placement(usual.site, usual.lookup, (layer,), (layer + 0.5) / lm.n_layers)

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        deltas = []
        for request, delta in zip(requests, super().each(lm, requests, statistics), strict=True):
            factors = {}
            for name, change in delta.factors.items():
                assert isinstance(change, LowRank)
                draw = torch.Generator().manual_seed(seed_for(self.seed, f"key {request.id}"))
                key = torch.randn(change.right.shape, generator=draw)
                factors[name] = LowRank(change.left, key * change.right.norm() / key.norm())
            deltas.append(Delta(factors, delta.provenance))
        return deltas
