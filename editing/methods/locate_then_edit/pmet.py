"""PMET: attention and feed-forward states optimised together, the feed-forward weights written (Li et al. 2024, "PMET:
Precise Model Editing in a Transformer", eq. 11-14).

delta_a and delta_m are added to the outputs of the attention and of the MLP of the last edited block and found jointly,
so that the MLP need not carry what belongs to the attention; each has its own weight decay and clamp. Then, as in
MEMIT, layer by layer, dW_l = R K^T (lambda C + K K^T)^-1 with R = (m* - current MLP output of the last edited block) /
sqrt(layers left).

Two things of this depend on the model. What an edit of a lower block writes does not get into m, so the shares of L
blocks add up: to 1 in one block, to 3.2 in five. And the attention's part is found but not written, so that the MLP's
is too little by itself, which the sum makes up for in some models. So here the search ends where the MLP's part alone
reaches the target (editing/solve/solvers.py), and each share is divided by the sum of all, so that together they write
what was found once. The preset "published" and Adam search as in the paper; the shares of "published" are the paper's.

The authors' code also lowers the weight of the likelihood tenfold once the target is the argmax and stops when the KL
is below 0.01; that schedule is not in the paper and not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.methods.locate_then_edit.memit import MEMIT
from editing.model import EXPERT, LanguageModel
from editing.solve import Injection, Value, optimise_values
from editing.text import Contexts


@dataclass(frozen=True)
class PMET(MEMIT):
    """Settings are MEMIT's; the published ones are the authors' for GPT-J, whose KL term weighs 16 times MEMIT's."""

    name: ClassVar[str] = "pmet"
    summary: ClassVar[str] = "MEMIT with attention and MLP states optimised jointly (Li et al. 2024)"

    published: ClassVar[Mapping[str, Any]] = {"lr": 0.2, "kl": 1.0, "covariance_weight": 6000.0}

    steps: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.site not in ("mlp", EXPERT):
            raise self.refuse("site", f"mlp or {EXPERT}, whose weights this method writes")

    def _share(self, left: int, layers: int) -> float:
        whole = sum(n**-0.5 for n in range(1, layers + 1)) if self.relative else 1.0
        return whole * left**0.5

    def _goal(self, lm: LanguageModel, layer: int) -> str:
        """What writes, whose output a norm may follow."""
        return self._writer(lm, layer)

    def _norm(self, lm: LanguageModel, layer: int) -> None:
        """Its goal is in front of any norm."""
        return None

    def _values(self, lm: LanguageModel, units: Sequence[Contexts], layer: int) -> list[Value]:
        places = (Injection(self._goal(lm, layer), layer), Injection.at_site(lm.site("attn", layer)))
        values = optimise_values(lm, units, places, self, seed=self.seed, written=1)
        width = lm.d_model
        return [Value(v.delta[:width], v.v0[:width], v.loss, v.steps, v.with_kl) for v in values]
