"""RECT: only the entries that change most, as a share of what they were (Gu et al. 2024, "Model Editing Harms General
Abilities of Large Language Models: Regularization to the Rescue", section 5).

delta_ij = |dW_ij / W_ij|; the change keeps the `keep` share of the entries with the largest delta_ij and is zero
elsewhere. The share is one of the rows that are changed at all: a map of queries, keys and values has others. The
result is dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from editing.delta import Dense, WeightChange
from editing.methods.base import setting
from editing.methods.wrappers.reworked import Reworked, changed_rows
from editing.methods.wrappers.sphere import oriented_weight
from editing.model import LanguageModel
from editing.text import EditRequest


@dataclass(frozen=True)
class Rect(Reworked):
    """The paper keeps 40% of the entries, in both presets."""

    name: ClassVar[str] = "rect"
    summary: ClassVar[str] = "any method's change, without the entries that change least (Gu et al. 2024)"

    keep: float = setting(0.4, "share of the entries that are changed")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.keep <= 1:
            raise self.refuse("keep", "a share above 0, at most 1")

    def reworked(
        self, lm: LanguageModel, name: str, change: WeightChange, requests: Sequence[EditRequest]
    ) -> WeightChange:
        dense = change.dense()
        relative = (dense / oriented_weight(lm, name)).nan_to_num(0.0).abs().flatten()
        kept = max(1, round(self.keep * int(changed_rows(change).sum()) * dense.shape[1]))
        smallest = relative.topk(kept).values[-1]
        return Dense(dense * (relative >= smallest).reshape(dense.shape))
