"""ROME: one rank-one change of one linear map (Meng et al. 2022, "Locating and Editing Factual Associations in GPT",
eq. 2-4).

With k* the mean key over contexts, k0 the key of the bare prompt, C the key covariance and delta the optimised change
of the output: u = C^-1 k* / ||C^-1 k*||, dW = delta u^T / (u . k0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from editing.methods.locate_then_edit.rank_one import RankOne
from editing.solve import bare_weights
from editing.text import Contexts


@dataclass(frozen=True)
class ROME(RankOne):
    """The bare prompt's key is mapped to v*; settings are those of `RankOne`."""

    name: ClassVar[str] = "rome"
    summary: ClassVar[str] = "rank-one change of one map at one layer (Meng et al. 2022)"

    def _anchor(self, request: Contexts) -> list[float]:
        return bare_weights(request)
