"""R-ROME: ROME with one and the same key everywhere (Gupta, Baskaran & Anumanchipalli 2024, "Rebuilding ROME", eq. 5).

The ROME code takes the direction from the key k_e averaged over contexts but scales by the bare prompt's key, and where
the two are nearly orthogonal the change explodes ("disabling edits"). With k_e in both places, and W k_e as what the
change starts from: dW = (v* - W k_e) (C^-1 k_e)^T / (k_e^T C^-1 k_e). v* = v0 + delta with v0 of the bare prompt, as in
ROME.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from editing.methods.locate_then_edit.rank_one import RankOne
from editing.solve import mean_weights
from editing.text import Contexts


@dataclass(frozen=True)
class RROME(RankOne):
    """The averaged key is mapped to v*; settings are those of `RankOne`."""

    name: ClassVar[str] = "r_rome"
    summary: ClassVar[str] = "ROME with the averaged key in every place (Gupta et al. 2024)"

    def _anchor(self, request: Contexts) -> list[float]:
        return mean_weights(request)
