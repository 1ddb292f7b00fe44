"""The base of ROME and R-ROME: v* at one site, and one rank-one change that maps one key to it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from editing.delta import Delta, LowRank
from editing.methods.base import setting
from editing.methods.locate_then_edit.moving import Moving
from editing.methods.sequence import apply_sequence
from editing.model import LanguageModel, in_rows, only_rows
from editing.solve import Injection, bare_weights, group_mean, mean_weights, optimise_values, states
from editing.stats import ModelStatistics, cosine_warning
from editing.text import Contexts, EditRequest, build_contexts


@dataclass(frozen=True)
class RankOne(Moving):
    """Settings of the rank-one methods; the defaults are ROME's, with the layer as a fraction of the depth."""

    short_prefixes: int = setting(10, "drawn contexts of about 5 tokens beside the bare prompt", unit="contexts")
    long_prefixes: int = setting(10, "drawn contexts of about 10 tokens beside the bare prompt", unit="contexts")

    @abstractmethod
    def _anchor(self, request: Contexts) -> list[float]:
        """Weights of the contexts in the key that is mapped to v* exactly."""

    def _each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        deltas: list[Delta | None] = [None] * len(requests)
        prefixes = statistics.prefixes({5: self.short_prefixes, 10: self.long_prefixes})
        for (layer,), members in self.by_layers(lm, requests).items():
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
            values = optimise_values(lm, contexts, Injection.at_site(site), self, seed=self.seed)
            for j, i in enumerate(members):
                scale = float(u_In[:, j] @ anchor_nI[j])
                doubt = cosine_warning(requests[i].id, scale, float(anchor_nI[j].norm()))
                left = in_rows((values[j].delta + only_rows(gap_nD[j], site.rows)) / scale, site.rows, site.d_out)
                provenance = self.provenance(lm, [requests[i]], statistics) | {"optimiser": values[j].note()}
                provenance |= {"warnings": [doubt]} if doubt else {}
                deltas[i] = Delta({site.weight: LowRank(left[:, None], u_In[:, j : j + 1].clone())}, provenance)
        return [d for d in deltas if d is not None]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One edit after another, each computed on the model as edited so far (as the ROME code does)."""
        if len(requests) == 1:
            return self.each(lm, requests, statistics)[0]
        return apply_sequence(lm, self, requests, statistics)
