"""AlphaEdit: changes confined to directions the corpus hardly uses (Fang et al. 2025, "Null-Space Constrained Knowledge
Editing", eq. 14).

P projects on the eigenvectors of C with small eigenvalues. dW = R K^T P (Kp Kp^T P + K K^T P + l2 I)^-1, with Kp the
keys of the earlier edits of a sequence, read after each of them, so that what was edited before is kept too. In the
basis U of P = U U^T this is dW = R (U^T K)^T (U^T (Kp Kp^T + K K^T) U + l2 I)^-1 U^T, a symmetric solve in the size of
the null space; where the edits are fewer than its directions, in the number of the edits.

The paper's threshold 0.02 and l2 = 10 are absolute, for GPT-2 XL, GPT-J and Llama 3 8B; keys of other models are longer
or shorter by orders of magnitude. So the threshold is a multiple of C's mean eigenvalue here, and l2 of trace(P C),
which is what ||P k||^2 is on average over the corpus: one key alone writes the share ||P k||^2 / (||P k||^2 + l2). With
`units` "relative", as before there were presets, l2 is a multiple of trace(C); "absolute" is the preset "published".
The provenance has the absolute threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from editing.delta import Delta
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.base import setting
from editing.methods.locate_then_edit.routed import expert_parts, experts_in
from editing.methods.locate_then_edit.spread import Memory, Spread
from editing.model import EXPERT, LanguageModel, Site
from editing.solve import AUTO, group_mean, routes, states, type_weights
from editing.stats import ModelStatistics
from editing.text import EditRequest


@dataclass(frozen=True)
class AlphaEdit(Spread):
    """Settings of AlphaEdit beside those of `Spread`."""

    name: ClassVar[str] = "alphaedit"
    summary: ClassVar[str] = "change in the null space of the corpus keys (Fang et al. 2025)"

    published: ClassVar[Mapping[str, Any]] = {"null_threshold": 0.02, "l2": 10.0, "units": "absolute"}
    before_presets: ClassVar[Mapping[str, Any]] = {"null_threshold": 0.5, "l2": 0.1, "units": "relative"}

    null_threshold: float = setting(0.5, "largest eigenvalue of C that counts as unused", unit="mean of all")
    l2: float = setting(0.05, "weight of ||dW||^2", unit="trace of P C")
    units: str = setting("null_space", "scale of threshold and l2", choices=("null_space", "relative", "absolute"))

    def _basis(self, statistics: ModelStatistics, site: Site) -> tuple[torch.Tensor, float, float]:
        """(d_in, q) float64 basis of the null space, the unit of the threshold (the mean eigenvalue of C, or 1) and
        that of l2."""
        values, vectors = statistics.spectrum(site)
        unit = 1.0 if self.units == "absolute" else float(values.mean())
        inside = int((values < self.null_threshold * unit).sum())
        if not inside:
            raise BadRequest(
                f"method {self.name}: no direction of {site.path} is below null_threshold={self.null_threshold}; "
                "raise it"
            )
        of_l2 = {"null_space": float(values[:inside].sum()), "relative": float(values.sum()), "absolute": 1.0}
        return vectors[:, :inside], unit, of_l2[self.units]

    def _adjusted(
        self, statistics: ModelStatistics, site: Site, key_In: torch.Tensor, memory: Memory | None
    ) -> torch.Tensor:
        basis, _, unit = self._basis(statistics, site)
        key_qn = basis.T @ key_In.to(basis)
        past_qm = (memory or {}).get(site.path, key_qn[:, :0])
        return (basis @ _ridge_solution(past_qm, key_qn, self.l2 * unit)).float().cpu().contiguous()

    def step(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> tuple[Delta, Any]:
        """`memory`: U^T Kp (q, m) by site path, to which the edited model's keys of these requests are added."""
        if len(requests) == 1:
            (delta,) = self.each(lm, requests, statistics, memory)
        else:
            (delta,) = self._edit(lm, [requests], statistics, memory)
        made = replace(self, lookup="last") if "moved" in delta.provenance else self
        kept = dict(memory or {})
        for site, key_nI in made._keys(lm, requests, statistics, delta):
            basis = self._basis(statistics, site)[0]
            key_qn = basis.T @ key_nI.T.to(basis)
            kept[site.path] = torch.cat([kept[site.path], key_qn], 1) if site.path in kept else key_qn
        return delta, kept

    def _keys(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, delta: Delta
    ) -> Iterator[tuple[Site, torch.Tensor]]:
        """Of every edited map the keys (n, d_in) that reach it in the edited model."""
        units = self._units(requests, self.contexts(lm, requests, statistics))
        if self.site == EXPERT:
            owner = [0] * len(units)
            for layer, sites in experts_in(lm, delta).items():
                chosen = routes(lm, layer, units, AUTO, deltas=[delta], owner=owner)
                for part in expert_parts(lm, chosen, sites, [delta], owner):
                    yield part.site, part.key_nI[part.reads]
            return
        sites = self.edited_sites(lm, requests[0])
        prompts = [p for u in units for p in u.prompts]
        state = states(lm, prompts, [(s.path, "input") for s in sites], deltas=[delta])
        for site in sites:
            yield site, group_mean(state[site.path, "input"], units, [type_weights(u) for u in units])

    def _about(self, statistics: ModelStatistics, sites: Sequence[Site]) -> dict[str, Any]:
        null = {}
        for site in sites:
            basis, unit, _ = self._basis(statistics, site)
            null[site.path] = {"directions": basis.shape[1], "threshold": self.null_threshold * unit}
        return {"null_space": null}


def _ridge_solution(past_qm: torch.Tensor, key_qn: torch.Tensor, l2: float) -> torch.Tensor:
    """(q, n) (Z Z^T + l2 I)^-1 K for Z = [past, K], by the smaller of two solves; with l2 = 0 its limit, in which the
    edits are exact.

    With r = m + n columns below q, (Z Z^T + l2 I)^-1 Z = Z (Z^T Z + l2 I)^-1 (push-through identity), whose last n
    columns are the solution.
    """
    both_qr = torch.cat([past_qm, key_qn], 1)
    q, r = both_qr.shape
    pushed = r < q
    gram = both_qr.T @ both_qr if pushed else both_qr @ both_qr.T
    right = torch.eye(r, dtype=gram.dtype, device=gram.device)[:, past_qm.shape[1] :] if pushed else key_qn
    if l2:
        gram.diagonal().add_(l2)
        solution = torch.linalg.solve(gram, right)
    else:  # singular where two keys are the same
        solution = torch.linalg.pinv(gram, hermitian=True) @ right
    return both_qr @ solution if pushed else solution
