"""EMMET: many facts under an equality constraint (Gupta, Sajnani & Anumanchipalli 2024, "A Unified Framework for Model
Editing", eq. 9).

dW = R (K^T C^-1 K + lambda I)^-1 K^T C^-1: of all changes with dW K = R the one that moves the keys of the corpus
least; ROME is the case of one key. lambda keeps nearly equal keys apart and has the unit of k^T C^-1 k, which is d_in
on average: it is a multiple of d_in here, and absolute (their code's `emmet_lambda`, 0.1) in the preset "published".
The formula is MEMIT's with a small lambda; what differs is where it comes from, the default and, in the paper, one
layer instead of several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.lazy import torch
from editing.methods.base import setting
from editing.methods.locate_then_edit.spread import Memory, Spread, weighted_least_squares
from editing.model import Site
from editing.stats import ModelStatistics


@dataclass(frozen=True)
class EMMET(Spread):
    """Settings of EMMET beside those of `Spread`; slack 0 refuses batches in which two requests have the same key."""

    name: ClassVar[str] = "emmet"
    summary: ClassVar[str] = "batch edit under an equality constraint (Gupta et al. 2024)"

    published: ClassVar[Mapping[str, Any]] = {"slack": 0.1}

    span: float = 0.0
    slack: float = setting(0.0001, "lambda, the allowed deviation from equality; 0: none", unit="d_in")

    def _adjusted(
        self, statistics: ModelStatistics, site: Site, key_In: torch.Tensor, memory: Memory | None
    ) -> torch.Tensor:
        return weighted_least_squares(statistics, site, key_In, self.in_keys(self.slack, site))
