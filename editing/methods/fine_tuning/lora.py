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

from editing.delta import LowRank
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.base import Spanning, setting
from editing.methods.fine_tuning.tuning import Changes, Tuning
from editing.model import KINDS, LanguageModel, Site
from editing.seeds import seed_for
from editing.solve import Descent, Outcome, adding, descend


@dataclass(frozen=True)
class LoRA(Tuning, Spanning):
    """A starts uniform, as in the paper's code, from a generator of `seed` and the request's id."""

    name: ClassVar[str] = "lora"
    summary: ClassVar[str] = "low-rank adapters trained on the request's contexts (Hu et al. 2022)"
    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.999, "last": 0.999}

    site: str = "value"
    span: float = 1.0
    steps: int = 40
    lr: float = 0.001
    stop_loss: float = 0.05
    prefixes: int = 5
    more_sites: str = setting("", "further kinds of maps, comma-separated")
    rank: int = setting(8, "rank of the change of one map")
    alpha: float = setting(32.0, "numerator of the factor alpha / rank of the change")

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

    def _sites(self, lm: LanguageModel, layers: tuple[int, ...]) -> list[Site]:
        return [lm.sites(kind)[layer] for kind in self._kinds() for layer in layers]

    def _parameters(self, sites: Sequence[Site]) -> int:
        return sum((s.size + s.d_in) * self.rank for s in sites)

    def start(self, sites: Sequence[Site], name: str) -> list[torch.Tensor]:
        """(r, d_in) A of every site for the request called `name`: uniform in +-1/sqrt(d_in), as
        kaiming_uniform_(a=sqrt(5)).
        """
        draw = torch.Generator().manual_seed(seed_for(self.seed, name))
        return [(2 * torch.rand(self.rank, s.d_in, generator=draw) - 1) / math.sqrt(s.d_in) for s in sites]

    def _descend(
        self, lm: LanguageModel, sites: Sequence[Site], problems, names
    ) -> tuple[list[Changes], list[Outcome]]:
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
        factors = list(zip(sites, trained[::2], trained[1::2], strict=True))
        return [{s.weight: self._change(s, a[i], b[i]) for s, a, b in factors} for i in range(len(problems))], outcomes

    def _change(self, site: Site, a_rI: torch.Tensor, b_Or: torch.Tensor) -> LowRank:
        left = torch.zeros(site.d_out, self.rank)
        left[site.row_index(left.device)] = self.alpha / self.rank * b_Or.cpu()
        return LowRank(left, a_rI.T.contiguous().cpu())
