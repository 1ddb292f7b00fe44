"""The base of ROME and R-ROME: v* at one site, and one rank-one change that maps one key to it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from editing.delta import Delta, LowRank
from editing.lazy import torch
from editing.methods.base import setting
from editing.methods.locate_then_edit.routed import Routed
from editing.methods.sequence import apply_sequence
from editing.model import EXPERT, LanguageModel, Site, in_rows, only_rows
from editing.solve import (
    Injection,
    bare_weights,
    group_mean,
    kept_keys,
    mean_weights,
    optimise_values,
    routes,
    states,
)
from editing.stats import ModelStatistics, cosine_warning, refuse_nothing_kept, solve_keeping
from editing.text import Contexts, EditRequest, build_contexts


class _Place(NamedTuple):
    """Where one request is edited: the site, the contexts that take part, what the provenance says of the choice."""

    site: Site
    contexts: Contexts
    note: dict[str, Any]


@dataclass(frozen=True)
class RankOne(Routed):
    """Settings of the rank-one methods; the defaults are ROME's, with the layer as a fraction of the depth and room for
    longer deltas: the paper's clamp stops some edits of small models half a nat from their target."""

    published: ClassVar[Mapping[str, Any]] = {"clamp": 4.0}

    clamp: float = 8.0
    short_prefixes: int = setting(10, "drawn contexts of about 5 tokens beside the bare prompt", unit="contexts")
    long_prefixes: int = setting(10, "drawn contexts of about 10 tokens beside the bare prompt", unit="contexts")

    keep_weight: float = setting(0.0, "weight of the request's kept texts in the covariance; 0: none", unit="corpus")

    @abstractmethod
    def _anchor(self, request: Contexts) -> list[float]:
        """Weights of the contexts in the key that is mapped to v* exactly."""

    def _each(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> list[Delta]:
        places = self._places(lm, requests, statistics)
        statistics.prepare(dict.fromkeys(place.site for place in places))
        deltas: list[Delta | None] = [None] * len(requests)
        for site in dict.fromkeys(place.site for place in places):
            members = [i for i, place in enumerate(places) if place.site == site]
            made = self._at(lm, site, [requests[i] for i in members], [places[i] for i in members], statistics)
            for i, delta in zip(members, made, strict=True):
                deltas[i] = delta
        return [d for d in deltas if d is not None]

    def _places(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[_Place]:
        """Where each request is edited."""
        places: dict[int, _Place] = {}
        prefixes = statistics.prefixes({5: self.short_prefixes, 10: self.long_prefixes})
        for (layer,), members in self.by_layers(lm, requests).items():
            contexts = [build_contexts(lm, requests[i], prefixes, self.lookup) for i in members]
            if self.site == EXPERT:
                choices = routes(lm, layer, contexts, self.expert)
                places |= {
                    i: _Place(r.site, r.contexts, {"expert": r.note()}) for i, r in zip(members, choices, strict=True)
                }
            else:
                site = lm.site(self.site, layer)
                places |= {i: _Place(site, c, {}) for i, c in zip(members, contexts, strict=True)}
        return [places[i] for i in range(len(requests))]

    def _at(
        self,
        lm: LanguageModel,
        site: Site,
        requests: Sequence[EditRequest],
        places: Sequence[_Place],
        statistics: ModelStatistics,
    ) -> list[Delta]:
        """Single edits at one site."""
        contexts = [place.contexts for place in places]
        inputs, outputs = (site.path, "input"), (site.path, "output")
        state = states(lm, [p for c in contexts for p in c.prompts], [inputs, outputs])
        key_nI = group_mean(state[inputs], contexts, [mean_weights(c) for c in contexts])
        anchor_nI = group_mean(state[inputs], contexts, [self._anchor(c) for c in contexts])
        # v* was found from the bare prompts' output, the anchor's own output is what the change starts from
        start_nD = group_mean(state[outputs], contexts, [bare_weights(c) for c in contexts])
        gap_nD = start_nD - group_mean(state[outputs], contexts, [self._anchor(c) for c in contexts])
        u_In = self._directions(lm, site, requests, key_nI.T, statistics)
        u_In = (u_In / u_In.norm(dim=0)).float()
        values = optimise_values(lm, contexts, Injection.at_site(site), self, seed=self.seed)
        deltas = []
        for j, request in enumerate(requests):
            scale = float(u_In[:, j] @ anchor_nI[j])
            doubt = cosine_warning(request.id, scale, float(anchor_nI[j].norm()))
            left = in_rows((values[j].delta + only_rows(gap_nD[j], site.rows)) / scale, site.rows, site.d_out)
            provenance = self.provenance(lm, [request], statistics) | {"optimiser": values[j].note()}
            provenance |= {"kept_texts": len(request.keep)} if self.keep_weight else {}
            provenance |= places[j].note | ({"warnings": [doubt]} if doubt else {})
            deltas.append(Delta({site.weight: LowRank(left[:, None], u_In[:, j : j + 1].clone())}, provenance))
        return deltas

    def _directions(
        self,
        lm: LanguageModel,
        site: Site,
        requests: Sequence[EditRequest],
        keys: torch.Tensor,
        statistics: ModelStatistics,
    ) -> torch.Tensor:
        """(d_in, n): C^-1 keys (d_in, n), C of request i with what its texts to keep add to it.

        Raises:
            BadRequest: `keep_weight` for a request without texts to keep.
        """
        if not self.keep_weight:
            return statistics.solve(site, keys)
        refuse_nothing_kept(requests)
        rows = {text: row for row, text in enumerate(dict.fromkeys(text for r in requests for text in r.keep))}
        kept_kI = kept_keys(lm, site, list(rows))
        columns = [
            solve_keeping(statistics, site, keys[:, [j]], kept_kI[[rows[text] for text in r.keep]], self.keep_weight)
            for j, r in enumerate(requests)
        ]
        return torch.cat(columns, dim=1)

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One edit after another, each computed on the model as edited so far (as the ROME code does)."""
        if len(requests) == 1:
            return self.each(lm, requests, statistics)[0]
        return apply_sequence(lm, self, requests, statistics)
