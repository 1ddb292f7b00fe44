"""MEMIT: many facts spread over several layers (Meng et al. 2023, "Mass-Editing Memory in a Transformer", eq. 14 and
algorithm 1).

z = state of the last edited block at the lookup position + optimised delta. Then for each edited layer l, from below:
with K the keys of the edits (mean of type means), R = (z - current state) / layers left,
dW_l = R K^T (lambda C + K K^T)^-1.

One key alone writes the share q / (q + lambda) of its residual, q = k^T C^-1 k. Over the corpus the mean of q is d_in,
whatever the length of the keys, so lambda is a multiple of d_in here: the same lambda writes the same share in a model
of any width. The paper's 15,000 (GPT-J) and 20,000 (GPT-2 XL) are absolute: the preset "published".
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
class MEMIT(Spread):
    """Settings of MEMIT beside those of `Spread`."""

    name: ClassVar[str] = "memit"
    summary: ClassVar[str] = "least-squares change spread over several layers (Meng et al. 2023)"

    published: ClassVar[Mapping[str, Any]] = {"covariance_weight": 15000.0}

    covariance_weight: float = setting(0.05, "lambda, the weight of what is to be kept", unit="d_in")

    def _adjusted(
        self, statistics: ModelStatistics, site: Site, key_In: torch.Tensor, memory: Memory | None
    ) -> torch.Tensor:
        return weighted_least_squares(statistics, site, key_In, self.in_keys(self.covariance_weight, site))
