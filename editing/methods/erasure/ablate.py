"""Directional ablation: the direction that sets the subject apart from its kind is taken out of the residual stream
(Arditi et al. 2024, "Refusal in Language Models Is Mediated by a Single Direction", eq. 1 and 4).

r is the difference of mean states, x' = x - r r^T x. Taken out about the kind's mean m (affine concept editing,
Marshall et al. 2024, eq. 3), x' = x - r r^T (x - m), the subject lands where its kind is instead of at zero. "swap"
reflects about the middle of the two means, x' = x - 2 r r^T (x - (m_subject + m_kind) / 2): subject and kind change
places.

The paper takes the direction of one block out behind every block (`own` false). One direction carries refusal, but what
a thing is stands in other directions in every block, so that by default each place loses its own. A place at which the
two means are the same stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from editing.delta import Affine, Delta
from editing.methods.base import setting
from editing.methods.erasure.samples import Erasure, apart, read_stream, stream
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from editing.text import EditRequest


@dataclass(frozen=True)
class Ablate(Erasure):
    """Settings of directional ablation."""

    name: ClassVar[str] = "ablate"
    summary: ClassVar[str] = "the subject's direction taken out of the residual stream (Arditi et al. 2024)"

    by: str = setting("ablate", "removal, or exchange with its kind", choices=("ablate", "swap"))
    centre: str = setting("kind", "point that stays where it is", choices=("kind", "zero"))
    own: bool = setting(True, "direction of each place itself, not that behind the block at `depth`")

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        return [self._ablation(lm, request, statistics) for request in requests]

    def _ablation(self, lm: LanguageModel, request: EditRequest, statistics: ModelStatistics) -> Delta:
        paths = stream(lm, range(lm.n_layers))
        read = lm.layout.blocks[self.placement(lm, request).layers[0]]
        own, kind = self.texts(lm, request, statistics)
        states = read_stream(lm, own + kind, paths)
        parts = {p: (s[: len(own)], s[len(own) :]) for p, s in zip(paths, states, strict=True)}
        strength = 2.0 if self.by == "swap" else 1.0
        factors = {}
        for path, (of_own, of_kind) in parts.items():
            gap = apart(*parts[path if self.own else read])
            r = (gap / gap.norm().clamp(min=1e-30)).float()
            middle = (of_own.mean(0) + of_kind.mean(0)) / 2 if self.by == "swap" else of_kind.mean(0)
            fixed = float(r @ middle) if self.centre == "kind" else 0.0
            factors[f"{path}.output"] = Affine(-strength * r[:, None], r[:, None], strength * fixed * r)
        note = {"texts": len(own), "texts_of_kind": len(kind)}
        return Delta(factors, self.provenance(lm, [request], statistics) | {"optimiser": note})
