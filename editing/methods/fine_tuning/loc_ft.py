"""LocFT-BF: fine-tuning at a chosen map, breadth first in mini-batches (Yang et al. 2025, "Fine-tuning Done Right in
Model Editing", arXiv 2509.22072).

The edits of a batch are trained together in epochs, each a pass over all of them in a new order, `batch` prompts a step
of Adam; not one edit to convergence after another, which lets later edits undo earlier ones. The loss is FT-M's: NLL of
each token of the target behind its predecessors. The paper finds the down projections of late blocks to be the best
place.

A single edit is one mini-batch. What is trained is one map (`site`, `depth`); learning rate in the root mean square of
its weight. There is no bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.methods.base import setting
from editing.methods.fine_tuning.ft import FineTuning
from editing.methods.fine_tuning.tuning import Changes
from editing.model import LanguageModel, Site
from editing.solve import Descent, Outcome, TrainingSet


@dataclass(frozen=True)
class LocFT(FineTuning):
    """`steps` counts epochs. A call with several requests is the breadth-first training; `each` trains single edits."""

    name: ClassVar[str] = "loc_ft"
    summary: ClassVar[str] = "breadth-first mini-batch fine-tuning of one late map (Yang et al. 2025)"
    published: ClassVar[Mapping[str, Any]] = {"depth": 0.85}

    lr: float = 0.02
    batch: int = setting(8, "prompts of one step; 0: all", unit="prompts")

    def _descend(
        self, lm: LanguageModel, sites: Sequence[Site], problems: Sequence[TrainingSet]
    ) -> tuple[list[Changes], list[Outcome]]:
        """Edits that are one mini-batch each are trained together, those of more prompts one by one."""
        long = [i for i, problem in enumerate(problems) if self.batch and len(problem.prompts) > self.batch]
        groups = [[i for i in range(len(problems)) if i not in long], *([i] for i in long)]
        changes: dict[int, Changes] = {}
        outcomes: dict[int, Outcome] = {}
        for members in filter(None, groups):
            made = super()._descend(lm, sites, [problems[i] for i in members])
            changes |= dict(zip(members, made[0], strict=True))
            outcomes |= dict(zip(members, made[1], strict=True))
        return [changes[i] for i in range(len(problems))], [outcomes[i] for i in range(len(problems))]

    def _descent(self, unit: float) -> Descent:
        return Descent(self.steps, self.lr * unit, self.stop_loss, self.at_prompt, self.batch, self.seed)
