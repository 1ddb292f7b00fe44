"""LoRA trained on the request's contexts (Hu et al. 2022, "LoRA", eq. 3: h = W0 x + (alpha / r) B A x, B = 0 at the
start).

As a knowledge editor it is EasyEdit's LoRA baseline: Adam on the target's NLL, all layers. The result is the low-rank
change itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from editing.delta.changes import LowRank
from editing.delta.delta import Delta
from editing.errors import BadRequest
from editing.methods.base import Method
from editing.model.language_model import LanguageModel
from editing.model.sites import KINDS, Site
from editing.seeds import seed_for
from editing.solve.descent import Descent, adding, descend, groups_of
from editing.stats.statistics import ModelStatistics
from editing.text.contexts import build_contexts
from editing.text.requests import EditRequest


@dataclass(frozen=True)
class LoRA(Method):
    """Settings of LoRA.

    Attributes:
        site: the maps that get factors. more_sites: further kinds, comma-separated.
        depth, span: the last trained layer, and how many end there, as fractions of the depth; all by default.
        rank, alpha: r and alpha of the paper. A starts uniform, as in its code, from a generator of `seed` and the
            request's id.
        steps, lr, stop_loss: of Adam; a request is finished below `stop_loss`.
        prefixes: sampled contexts of about 10 tokens beside the bare prompt.
    """

    name: ClassVar[str] = "lora"
    summary: ClassVar[str] = "low-rank adapters trained on the request's contexts (Hu et al. 2022)"
    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.999, "last": 0.999}
    uses_covariance: ClassVar[bool] = False

    site: str = "value"
    more_sites: str = ""
    span: float = 1.0
    rank: int = 8
    alpha: float = 32.0
    steps: int = 40
    lr: float = 0.001
    stop_loss: float = 0.05
    prefixes: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [k for k in self._kinds() if k not in KINDS]
        if unknown:
            raise BadRequest(f"method lora: more_sites has {unknown[0]!r}; use {', '.join(KINDS)}")
        if self.rank < 1 or not 0 < self.span <= 1:
            raise BadRequest(f"method lora: rank={self.rank}, span={self.span}; rank is 1 or more, span in (0, 1]")

    def _kinds(self) -> tuple[str, ...]:
        more = (k.strip() for k in self.more_sites.split(","))
        return tuple(dict.fromkeys([self.site, *(k for k in more if k)]))

    def _layers(self, n_layers: int, depth: float) -> tuple[int, ...]:
        last = min(n_layers - 1, int(depth * n_layers))
        return tuple(range(max(0, last - max(1, round(self.span * n_layers)) + 1), last + 1))

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        return self._tune(lm, requests, [[i] for i in range(len(requests))], statistics)

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One adapter for the mean loss of all requests' contexts."""
        if len({self.placement(lm, r).layers for r in requests}) != 1:
            raise BadRequest("method lora: one batch needs the same layers; set `depth` (or give at least one request)")
        return self._tune(lm, requests, [list(range(len(requests)))], statistics)[0]

    def _tune(
        self, lm: LanguageModel, requests: Sequence[EditRequest], groups: list[list[int]], statistics: ModelStatistics
    ) -> list[Delta]:
        contexts = [build_contexts(lm, r, statistics.prefixes({10: self.prefixes}), self.lookup) for r in requests]
        by_layers: dict[tuple[int, ...], list[int]] = {}
        for g, members in enumerate(groups):
            by_layers.setdefault(self.placement(lm, requests[members[0]]).layers, []).append(g)
        deltas: dict[int, Delta] = {}
        for layers, group_ids in by_layers.items():
            sites = [lm.sites(kind)[layer] for kind in self._kinds() for layer in layers]
            for run in groups_of(len(group_ids), sum((s.size + s.d_in) * self.rank for s in sites)):
                chosen = [group_ids[j] for j in run]
                problems = [[p for i in groups[g] for p in contexts[i].prompts] for g in chosen]
                names = [requests[groups[g][0]].id for g in chosen]
                factors, outcomes = self._descend(lm, sites, problems, names)
                for j, g in enumerate(chosen):
                    made = self.provenance(lm, [requests[i] for i in groups[g]], statistics)
                    changes = {s.weight: self._change(s, a[j], b[j]) for s, (a, b) in zip(sites, factors, strict=True)}
                    deltas[g] = Delta(changes, made | {"optimiser": outcomes[j].note()})
        return [deltas[g] for g in range(len(groups))]

    def start(self, sites: Sequence[Site], name: str) -> list[torch.Tensor]:
        """(r, d_in) A of every site for the request called `name`: uniform in +-1/sqrt(d_in), as
        kaiming_uniform_(a=sqrt(5)).
        """
        draw = torch.Generator().manual_seed(seed_for(self.seed, name))
        return [(2 * torch.rand(self.rank, s.d_in, generator=draw) - 1) / math.sqrt(s.d_in) for s in sites]

    def _descend(self, lm: LanguageModel, sites: Sequence[Site], problems, names):
        starts = [self.start(sites, name) for name in names]
        parameters: list[torch.Tensor] = []
        for i, site in enumerate(sites):
            parameters += [torch.stack([a[i] for a in starts]), torch.zeros(len(problems), site.size, self.rank)]
        scale = self.alpha / self.rank

        def hooks(values: Sequence[torch.Tensor], owner: torch.Tensor):
            def change(a_nrI: torch.Tensor, b_nOr: torch.Tensor):
                return lambda key: scale * torch.bmm(torch.bmm(key.float(), a_nrI[owner].mT), b_nOr[owner].mT)

            pairs = zip(values[::2], values[1::2], strict=True)
            return [adding(s.path, change(a, b), owner, s.rows) for s, (a, b) in zip(sites, pairs, strict=True)]

        how = Descent(self.steps, self.lr, self.stop_loss)
        trained, outcomes = descend(lm, problems, min(s.layer for s in sites), parameters, hooks, how, names=names)
        return list(zip(trained[::2], trained[1::2], strict=True)), outcomes

    def _change(self, site: Site, a_rI: torch.Tensor, b_Or: torch.Tensor) -> LowRank:
        left = torch.zeros(site.d_out, self.rank)
        left[site.row_index(left.device)] = self.alpha / self.rank * b_Or.cpu()
        return LowRank(left, a_rI.T.contiguous().cpu())
