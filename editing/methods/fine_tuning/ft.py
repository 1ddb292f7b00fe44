"""Constrained fine-tuning of one weight (FT-L, FT-M).

FT-L: Zhu et al. 2020, "Modifying Memories in Transformer Models", eq. 2, as the baseline of the ROME paper: minimise
the NLL of the target over one layer's W subject to ||W - W0||_inf <= epsilon, by Adam with a projection after every
step. Its code reads all target tokens off the last prompt position, and so does this. FT-M: EasyEdit's form (Zhang et
al. 2024, "A Comprehensive Study of Knowledge Editing", section 4.1): the same without the bound, cross-entropy on each
target token behind its predecessors with the prompt masked out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from editing.delta.changes import Dense
from editing.delta.delta import Delta
from editing.errors import BadRequest
from editing.methods.base import Method
from editing.model.language_model import LanguageModel
from editing.model.sites import Site
from editing.solve.descent import Descent, Outcome, adding, by_owner, descend, groups_of
from editing.stats.statistics import ModelStatistics
from editing.text.contexts import build_contexts
from editing.text.requests import EditRequest

UNITS = ("relative", "absolute")


@dataclass(frozen=True)
class FineTuning(Method):
    """Settings shared by both forms. The peers' steps and layer (21 of 32) are kept.

    Attributes:
        steps: updates. stop_loss: a request is finished below it.
        lr: of Adam. bound: largest change of one entry; 0 means none. Both in units of the weight's root mean square,
            so that one setting serves a ladder ("relative"), or as they are ("absolute", as the papers give them).
        units: "relative" or "absolute".
        prefixes: sampled contexts of about 10 tokens beside the bare prompt; the papers have none.
    """

    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.65, "last": 0.65}
    uses_covariance: ClassVar[bool] = False
    at_prompt: ClassVar[bool] = False

    steps: int = 25
    lr: float = 0.005
    bound: float = 0.0
    stop_loss: float = 0.01
    units: str = "relative"
    prefixes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units not in UNITS:
            raise BadRequest(f"method {self.name}: units={self.units!r}; it must be one of {', '.join(UNITS)}")

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        return self._tune(lm, requests, [[i] for i in range(len(requests))], statistics)

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One change for the mean loss of all requests' prompts."""
        if len({self.placement(lm, r).layers for r in requests}) != 1:
            raise BadRequest(
                f"method {self.name}: one batch needs one layer; set `depth` (or give at least one request)"
            )
        return self._tune(lm, requests, [list(range(len(requests)))], statistics)[0]

    def _tune(
        self, lm: LanguageModel, requests: Sequence[EditRequest], groups: list[list[int]], statistics: ModelStatistics
    ) -> list[Delta]:
        """One delta per group of requests."""
        prefixes = statistics.prefixes({10: self.prefixes})
        contexts = [build_contexts(lm, r, prefixes, self.lookup) for r in requests]
        by_layer: dict[int, list[int]] = {}
        for g, members in enumerate(groups):
            by_layer.setdefault(self.placement(lm, requests[members[0]]).layers[0], []).append(g)
        deltas: dict[int, Delta] = {}
        for layer, group_ids in by_layer.items():
            site = lm.sites(self.site)[layer]
            for run in groups_of(len(group_ids), site.size * site.d_in):
                chosen = [group_ids[j] for j in run]
                problems = [[p for i in groups[g] for p in contexts[i].prompts] for g in chosen]
                names = [requests[groups[g][0]].id for g in chosen]
                changes, outcomes = self._descend(lm, site, problems, names)
                for g, change, outcome in zip(chosen, changes, outcomes, strict=True):
                    made = self.provenance(lm, [requests[i] for i in groups[g]], statistics)
                    deltas[g] = Delta({site.weight: Dense(change)}, made | {"optimiser": outcome.note()})
        return [deltas[g] for g in range(len(groups))]

    def _descend(self, lm: LanguageModel, site: Site, problems, names) -> tuple[list[torch.Tensor], list[Outcome]]:
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
            Descent(self.steps, self.lr * unit, self.stop_loss, self.at_prompt),
            project=(lambda values: [v.clamp(-limit, limit) for v in values]) if limit else None,
            names=names,
        )
        changes = []
        for change in change_nOI:
            whole = torch.zeros(site.d_out, site.d_in)
            whole[site.row_index(whole.device)] = change.cpu()
            changes.append(whole)
        return changes, outcomes


@dataclass(frozen=True)
class FTL(FineTuning):
    """FT-L. As in ROME's GPT-2 XL (5e-4 absolute for both) the bound is as large as one step; smaller models need more
    of it.
    """

    name: ClassVar[str] = "ft_l"
    summary: ClassVar[str] = "fine-tuning of one weight under an L-infinity bound (Zhu et al. 2020)"
    at_prompt: ClassVar[bool] = True

    lr: float = 0.04
    bound: float = 0.04


@dataclass(frozen=True)
class FTM(FineTuning):
    """FT-M: masked cross-entropy on the target, no bound by default."""

    name: ClassVar[str] = "ft_m"
    summary: ClassVar[str] = "fine-tuning of one weight on the target's tokens (EasyEdit's FT-M)"
