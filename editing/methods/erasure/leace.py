"""LEACE: the smallest affine change of states after which no linear classifier separates the subject from its kind
(Belrose et al. 2023, "LEACE: Perfect linear concept erasure in closed form", theorem 4.3).

With the label z (subject or kind), r(x) = x - W^+ P W (x - E[x]), where W = (Sigma_xx^(1/2))^+ and P is the orthogonal
projection onto the columns of W Sigma_xz. For one binary label this has rank one; where the two means are the same it
is zero and the states stay as they are. Applied behind every block from the lowest on, each fitted on states that the
changes below have passed through (concept scrubbing, section 6); also behind the embedding.

Sigma_xx comes from few states, so it is shrunk towards a multiple of the identity, as in the authors' code; there the
amount is estimated, here it is a setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from editing.delta import Affine, Delta
from editing.lazy import torch
from editing.methods.base import Placement, setting
from editing.methods.erasure.samples import Erasure, apart, read_stream, stream
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from editing.text import EditRequest


@dataclass(frozen=True)
class LEACE(Erasure):
    """Settings of LEACE; `depth` is the last block behind which states are changed."""

    name: ClassVar[str] = "leace"
    summary: ClassVar[str] = "closed-form linear erasure of what sets the subject apart (Belrose et al. 2023)"
    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.999, "last": 0.999}

    shrinkage: float = setting(0.1, "share of the identity in the covariance of the states")
    span: float = setting(1.0, "number of changed blocks, at least one", unit="of blocks")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.shrinkage <= 1:
            raise self.refuse("shrinkage", "above 0 and at most 1")

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        one = super().placement(lm, request)
        last = one.layers[-1]
        first = max(0, last + 1 - max(1, round(self.span * lm.n_layers)))
        return Placement(one.site, one.lookup, tuple(range(first, last + 1)), one.depth)

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        return [self._scrubbing(lm, request, statistics) for request in requests]

    def _scrubbing(self, lm: LanguageModel, request: EditRequest, statistics: ModelStatistics) -> Delta:
        own, kind = self.texts(lm, request, statistics)
        label = torch.cat([torch.ones(len(own)), torch.zeros(len(kind))])
        factors: dict = {}
        for path in stream(lm, self.placement(lm, request).layers):
            (states,) = read_stream(lm, own + kind, [path], Delta(dict(factors)) if factors else None)
            factors[f"{path}.output"] = eraser(states, label, self.shrinkage)
        note = {"texts": len(own), "texts_of_kind": len(kind)}
        return Delta(factors, self.provenance(lm, [request], statistics) | {"optimiser": note})


def eraser(states: torch.Tensor, label: torch.Tensor, shrinkage: float) -> Affine:
    """r(x) - x of theorem 4.3 for states (n, d) and a binary label (n,)."""
    x = states.double()
    mean = x.mean(0)
    centred = x - mean
    covariance = centred.T @ centred / len(x)
    scale = covariance.diagonal().mean().clamp(min=1e-30)
    covariance = (1 - shrinkage) * covariance + shrinkage * scale * torch.eye(len(covariance), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(covariance)
    roots = values.clamp(min=0).sqrt()
    whiten = (vectors / roots) @ vectors.T  # W; its pseudo-inverse is Sigma^(1/2)
    # the only column of W Sigma_xz, but for its length
    direction = whiten @ apart(states[label > 0], states[label == 0])
    direction = direction / direction.norm().clamp(min=1e-30)
    left = -((vectors * roots) @ vectors.T) @ direction
    right = whiten @ direction
    return Affine(left[:, None].float(), right[:, None].float(), (-left * (right @ mean)).float())
