"""Constrained fine-tuning of one weight: FT-L (Zhu et al. 2020, "Modifying Memories in Transformer Models", eq. 2) and
FT-M (Zhang et al. 2024, "A Comprehensive Study of Knowledge Editing for Large Language Models", section 4.1).

FT-L, as the baseline of the ROME paper: minimise the NLL of the target over one layer's W subject to
||W - W0||_inf <= epsilon, by Adam with a projection after every step. Its code reads all target tokens off the last
prompt position, and so does this. FT-M, as in EasyEdit: the same without the bound, cross-entropy on each target token
behind its predecessors with the prompt masked out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.delta import Dense
from editing.lazy import torch
from editing.methods.base import setting
from editing.methods.fine_tuning.tuning import Changes, Tuning
from editing.model import LanguageModel, Site
from editing.solve import Descent, Outcome, TrainingSet, adding, by_owner, descend


@dataclass(frozen=True)
class FineTuning(Tuning):
    """Settings shared by both forms. The layer is a late one, where LocFT edits: at the peers' layer (21 of 32, the
    preset "published") an edit of a model of 30 layers changes more of its neighbours.

    `lr` and `bound` are relative to the weight's root mean square, so that one setting serves a ladder, or absolute, as
    the papers give them and the preset "published" has them.
    """

    published: ClassVar[Mapping[str, Any]] = {"lr": 0.0005, "units": "absolute", "depth": 0.65}

    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.85, "last": 0.85}
    at_prompt: ClassVar[bool] = False

    lr: float = setting(0.02, "learning rate of Adam", unit="RMS of W")
    bound: float = setting(0.0, "largest change of one entry; 0: no bound", unit="RMS of W")
    units: str = setting("relative", "scale of lr and bound", choices=("relative", "absolute"))
    prefixes: int = 0

    def _sites(self, lm: LanguageModel, layers: tuple[int, ...]) -> list[Site]:
        return [lm.site(self.site, layer) for layer in layers]

    def _parameters(self, sites: Sequence[Site]) -> int:
        return sum(s.size * s.d_in for s in sites)

    def _descent(self, unit: float) -> Descent:
        """How to descend, with one unit of the learning rate as an absolute number."""
        return Descent(self.steps, self.lr * unit, self.stop_loss, self.at_prompt)

    def _descend(
        self, lm: LanguageModel, sites: Sequence[Site], problems: Sequence[TrainingSet]
    ) -> tuple[list[Changes], list[Outcome]]:
        (site,) = sites
        weight = lm.values(site.weight).float()
        unit = float(weight.square().mean().sqrt()) if self.units == "relative" else 1.0
        limit = self.bound * unit

        def hooks(parameters: Sequence[torch.Tensor], owner: torch.Tensor):
            return [adding(site.path, lambda key: by_owner(key, parameters[0], owner), owner, site.rows)]

        (change_nOI,), outcomes = descend(
            lm,
            problems,
            site.layer,
            [torch.zeros(len(problems), site.size, site.d_in)],
            hooks,
            self._descent(unit),
            project=(lambda values: [v.clamp(-limit, limit) for v in values]) if limit else None,
        )
        changes: list[Changes] = []
        for change in change_nOI:
            whole = torch.zeros(site.d_out, site.d_in)
            whole[site.row_index(whole.device)] = change.cpu()
            changes.append({site.weight: Dense(whole)})
        return changes, outcomes


@dataclass(frozen=True)
class FTL(FineTuning):
    """FT-L. In ROME's GPT-2 XL (5e-4 absolute for both) the bound is as large as one step. Smaller models need more:
    with a bound of 15 steps some edits of every rung with more than one block miss their target. The default is 30
    steps. The descent ends where the target is reached; for one edit in twelve of a four-block rung the peers' 25 steps
    are too few.
    """

    name: ClassVar[str] = "ft_l"
    summary: ClassVar[str] = "fine-tuning of one weight under an L-infinity bound (Zhu et al. 2020)"
    at_prompt: ClassVar[bool] = True

    published: ClassVar[Mapping[str, Any]] = {"bound": 0.0005, "steps": 25}
    before_presets: ClassVar[Mapping[str, Any]] = {"lr": 0.04, "bound": 0.04, "units": "relative"}

    steps: int = 50
    bound: float = 0.6


@dataclass(frozen=True)
class FTM(FineTuning):
    """FT-M: masked cross-entropy on the target, no bound by default."""

    name: ClassVar[str] = "ft_m"
    summary: ClassVar[str] = "fine-tuning of one weight on the target's tokens (EasyEdit's FT-M)"
    before_presets: ClassVar[Mapping[str, Any]] = {"lr": 0.005, "units": "relative"}
