"""The base of ROME and R-ROME: v* at one site, and one rank-one change that maps one key to it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from editing.delta.changes import LowRank
from editing.delta.delta import Delta
from editing.errors import BadRequest
from editing.methods.base import Method
from editing.methods.sequence import apply_sequence
from editing.model.language_model import LanguageModel
from editing.solve.keys import bare_weights, group_mean, mean_weights, states
from editing.solve.value import Injection, ValueSettings, optimise_values
from editing.stats.statistics import ModelStatistics
from editing.text.contexts import Contexts, build_contexts
from editing.text.requests import EditRequest


@dataclass(frozen=True)
class RankOne(Method):
    """Settings of the rank-one methods; the defaults are ROME's, with the layer as a fraction of the depth.

    Attributes:
        short_prefixes, long_prefixes: sampled contexts of about 5 and about 10 tokens beside the bare prompt.
        optimiser, steps, lr, kl, weight_decay, clamp, stop_loss, contexts_per_step, precision: see `ValueSettings`.
    """

    short_prefixes: int = 10
    long_prefixes: int = 10
    optimiser: str = "adam"
    steps: int = 20
    lr: float = 0.5
    kl: float = 0.0625
    weight_decay: float = 0.5
    clamp: float = 4.0
    stop_loss: float = 0.05
    contexts_per_step: int = 0
    precision: str = "float32"

    @abstractmethod
    def _anchor(self, request: Contexts) -> list[float]:
        """Weights of the contexts in the key that is mapped to v* exactly."""

    def prepare(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> None:
        statistics.prepare(dict.fromkeys(s for r in requests for s in self.edited_sites(lm, r)))

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        deltas: list[Delta | None] = [None] * len(requests)
        prefixes = statistics.prefixes({5: self.short_prefixes, 10: self.long_prefixes})
        search = ValueSettings.of(self)
        by_layer: dict[int, list[int]] = {}
        for i, request in enumerate(requests):
            by_layer.setdefault(self.placement(lm, request).layers[0], []).append(i)
        for layer, members in by_layer.items():
            site = lm.sites(self.site)[layer]
            contexts = [build_contexts(lm, requests[i], prefixes, self.lookup) for i in members]
            inputs, outputs = (site.path, "input"), (site.path, "output")
            state = states(lm, [p for c in contexts for p in c.prompts], [inputs, outputs])
            key_nI = group_mean(state[inputs], contexts, [mean_weights(c) for c in contexts])
            anchor_nI = group_mean(state[inputs], contexts, [self._anchor(c) for c in contexts])
            # v* was found from the bare prompts' output, the anchor's own output is what the change starts from
            start_nD = group_mean(state[outputs], contexts, [bare_weights(c) for c in contexts])
            gap_nD = start_nD - group_mean(state[outputs], contexts, [self._anchor(c) for c in contexts])
            u_In = statistics.solve(site, key_nI.T)
            u_In = (u_In / u_In.norm(dim=0)).float()
            values = optimise_values(lm, contexts, Injection.at_site(site), search, seed=self.seed)
            rows = site.row_index(key_nI.device)
            for j, i in enumerate(members):
                scale = float(u_In[:, j] @ anchor_nI[j])
                if abs(scale) < 1e-12:
                    raise BadRequest(
                        f"request {requests[i].id!r}: its key is orthogonal to its own direction; no rank-one edit"
                    )
                left = key_nI.new_zeros(site.d_out, 1)
                left[rows, 0] = (values[j].delta + gap_nD[j, rows]) / scale
                provenance = self.provenance(lm, [requests[i]], statistics) | {"optimiser": values[j].note()}
                deltas[i] = Delta({site.weight: LowRank(left, u_In[:, j : j + 1].clone())}, provenance)
        return [d for d in deltas if d is not None]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One edit after another, each computed on the model as edited so far (as the ROME code does)."""
        if len(requests) == 1:
            return self.each(lm, requests, statistics)[0]
        return apply_sequence(lm, self, requests, statistics)
