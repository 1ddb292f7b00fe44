"""AlphaEdit: changes confined to directions the corpus hardly uses (Fang et al. 2025, "Null-Space Constrained Knowledge
Editing", eq. 14).

P projects on the eigenvectors of C with small eigenvalues. dW = R K^T P (Kp Kp^T P + K K^T P + l2 I)^-1, with Kp the
keys of the earlier edits of a sequence, read after each of them, so that what was edited before is kept too. In the
basis U of P = U U^T this is dW = R (U^T K)^T (U^T (Kp Kp^T + K K^T) U + l2 I)^-1 U^T, a symmetric solve in the size of
the null space.

The paper's threshold 0.02 and l2 = 10 are absolute, for GPT-2 XL, GPT-J and Llama 3 8B; keys of other models are longer
or shorter by orders of magnitude, so both are relative here unless `units` is "absolute". The provenance has the
absolute threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.delta import Delta
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.base import setting
from editing.methods.locate_then_edit.spread import Memory, Spread
from editing.model import LanguageModel, Site
from editing.solve import group_mean, states, type_weights
from editing.stats import ModelStatistics
from editing.text import EditRequest


@dataclass(frozen=True)
class AlphaEdit(Spread):
    """Settings of AlphaEdit beside those of `Spread`."""

    name: ClassVar[str] = "alphaedit"
    summary: ClassVar[str] = "change in the null space of the corpus keys (Fang et al. 2025)"

    null_threshold: float = setting(0.5, "largest eigenvalue of C that counts as unused", unit="mean of all")
    l2: float = setting(0.1, "weight of ||dW||^2", unit="trace of C")
    units: str = setting("relative", "scale of null_threshold and l2", choices=("relative", "absolute"))

    def _basis(self, statistics: ModelStatistics, site: Site) -> tuple[torch.Tensor, float]:
        """(d_in, q) float64 basis of the null space, and its unit: the mean eigenvalue of C, or 1."""
        values, vectors = statistics.spectrum(site)
        unit = float(values.mean()) if self.units == "relative" else 1.0
        inside = int((values < self.null_threshold * unit).sum())
        if not inside:
            raise BadRequest(
                f"method {self.name}: no direction of {site.path} is below null_threshold={self.null_threshold}; "
                "raise it"
            )
        return vectors[:, :inside], unit

    def _adjusted(
        self, statistics: ModelStatistics, site: Site, key_In: torch.Tensor, memory: Memory | None
    ) -> torch.Tensor:
        basis, unit = self._basis(statistics, site)
        key_qn = basis.T @ key_In.double()
        gram = key_qn @ key_qn.T
        if memory is not None:
            gram = gram + memory[site.path]
        gram.diagonal().add_(self.l2 * (unit * site.d_in if self.units == "relative" else 1.0))
        return (basis @ torch.linalg.solve(gram, key_qn)).float().contiguous()

    def step(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> tuple[Delta, Any]:
        """`memory`: U^T Kp Kp^T U (q, q) by site path, to which the edited model's keys of these requests are added."""
        delta = self._edit(lm, [requests], statistics, memory)[0]
        units = self._units(requests, self.contexts(lm, requests, statistics))
        sites = self.edited_sites(lm, requests[0])
        prompts = [p for u in units for p in u.prompts]
        state = states(lm, prompts, [(s.path, "input") for s in sites], deltas=[delta])
        kept = dict(memory or {})
        for site in sites:
            key_nI = group_mean(state[site.path, "input"], units, [type_weights(u) for u in units])
            key_qn = self._basis(statistics, site)[0].T @ key_nI.double().T
            kept[site.path] = kept.get(site.path, 0.0) + key_qn @ key_qn.T
        return delta, kept

    def provenance(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics
    ) -> dict[str, Any]:
        null = {}
        for site in self.edited_sites(lm, requests[0]):
            basis, unit = self._basis(statistics, site)
            null[site.path] = {"directions": basis.shape[1], "threshold": self.null_threshold * unit}
        return super().provenance(lm, requests, statistics) | {"null_space": null}
