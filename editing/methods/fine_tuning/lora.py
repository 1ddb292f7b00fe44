"""LoRA trained on the request's contexts (Hu et al. 2022, "LoRA", eq. 3: h = W0 x + (alpha / r) B A x, B = 0 at the
start).

As a knowledge editor it is EasyEdit's LoRA baseline: Adam on the target's NLL, all layers. The result is the low-rank
change itself.

Adam moves every entry of A and B by about `lr` a step, whatever the weights they change. Here A is stored times
sqrt(d_in), so that its entries are of order one, and B in units of the root mean square of W: an entry of the change
moves by (alpha / r) sqrt(r) lr RMS(W) a step in a model of any width. In the preset "published" both are as in the
paper, with EasyEdit's settings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.delta import LowRank
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.base import Spanning, setting
from editing.methods.fine_tuning.tuning import Changes, Tuning
from editing.model import KINDS, LanguageModel, Site
from editing.seeds import seed_for
from editing.solve import Descent, Outcome, TrainingSet, adding, descend


@dataclass(frozen=True)
class LoRA(Tuning, Spanning):
    """A starts uniform, as in the paper's code, from a generator of `seed` and the request's id."""

    name: ClassVar[str] = "lora"
    summary: ClassVar[str] = "low-rank adapters trained on the request's contexts (Hu et al. 2022)"
    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.999, "last": 0.999}

    published: ClassVar[Mapping[str, Any]] = {"lr": 0.005, "steps": 70, "stop_loss": 0.01, "prefixes": 0}
    before_presets: ClassVar[Mapping[str, Any]] = {"lr": 0.001, "steps": 40, "stop_loss": 0.05, "prefixes": 5}

    site: str = "value"
    span: float = 1.0
    steps: int = 40
    lr: float = setting(0.001, "learning rate of Adam", unit="RMS of W")
    stop_loss: float = 0.05
    prefixes: int = 5
    more_sites: str = setting("", "further kinds of maps, comma-separated")
    rank: int = setting(8, "rank of the change of one map", least=1)
    alpha: float = setting(32.0, "numerator of the factor alpha / rank of the change")

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [k for k in self._kinds() if k not in KINDS]
        if unknown:
            raise BadRequest(f"method {self.name}: more_sites has {unknown[0]!r}; use {', '.join(KINDS)}")
        if not 0 < self.span <= 1:
            raise self.refuse("span", "above 0 and at most 1")

    def _kinds(self) -> tuple[str, ...]:
        more = (k.strip() for k in self.more_sites.split(","))
        return tuple(dict.fromkeys([self.site, *(k for k in more if k)]))

    def _sites(self, lm: LanguageModel, layers: tuple[int, ...]) -> list[Site]:
        return [lm.site(kind, layer) for kind in self._kinds() for layer in layers]

    def _parameters(self, sites: Sequence[Site]) -> int:
        return sum((s.size + s.d_in) * self.rank for s in sites)

    def start(self, sites: Sequence[Site], name: str) -> list[torch.Tensor]:
        """(r, d_in) A of every site for the request called `name`: uniform in +-1/sqrt(d_in), as
        kaiming_uniform_(a=sqrt(5)).
        """
        draw = torch.Generator().manual_seed(seed_for(self.seed, name))
        return [(2 * torch.rand(self.rank, s.d_in, generator=draw) - 1) / math.sqrt(s.d_in) for s in sites]

    def _units(self, lm: LanguageModel, sites: Sequence[Site]) -> list[tuple[float, float]]:
        """Of every site what one unit of A and of B is, as they are trained."""
        if not self.relative:
            return [(1.0, 1.0)] * len(sites)
        weights = [lm.values(s.weight).float() for s in sites]
        return [
            (1 / math.sqrt(s.d_in), math.sqrt(s.d_in) * float(w.square().mean().sqrt()))
            for s, w in zip(sites, weights, strict=True)
        ]

    def _descend(
        self, lm: LanguageModel, sites: Sequence[Site], problems: Sequence[TrainingSet]
    ) -> tuple[list[Changes], list[Outcome]]:
        starts, units = [self.start(sites, problem.name) for problem in problems], self._units(lm, sites)
        parameters: list[torch.Tensor] = []
        for i, site in enumerate(sites):
            a_nrI = torch.stack([a[i] for a in starts]) / units[i][0]
            parameters += [a_nrI, torch.zeros(len(problems), site.size, self.rank)]
        scales = [self.alpha / self.rank * of_a * of_b for of_a, of_b in units]

        def hooks(values: Sequence[torch.Tensor], owner: torch.Tensor):
            def change(scale: float, a_nrI: torch.Tensor, b_nOr: torch.Tensor):
                return lambda key: scale * torch.bmm(torch.bmm(key.float(), a_nrI[owner].mT), b_nOr[owner].mT)

            parts = zip(sites, scales, values[::2], values[1::2], strict=True)
            return [adding(s.path, change(scale, a, b), owner, s.rows) for s, scale, a, b in parts]

        how = Descent(self.steps, self.lr, self.stop_loss)
        trained, outcomes = descend(lm, problems, min(s.layer for s in sites), parameters, hooks, how)
        factors = list(zip(sites, scales, trained[::2], trained[1::2], strict=True))
        changes: list[Changes] = [
            {s.weight: self._change(s, c, a[i], b[i]) for s, c, a, b in factors} for i in range(len(problems))
        ]
        return changes, outcomes

    def _change(self, site: Site, scale: float, a_rI: torch.Tensor, b_Or: torch.Tensor) -> LowRank:
        left = torch.zeros(site.d_out, self.rank)
        left[site.row_index(left.device)] = scale * b_Or.cpu()
        return LowRank(left, a_rI.T.contiguous().cpu())
