"""The base of FT and LoRA: Adam on parameters of hooks, many edits in the same forward passes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from editing.delta import Delta, WeightChange
from editing.methods.base import Prefixed, setting
from editing.model import LanguageModel, Site
from editing.solve import Outcome, TrainingSet, groups_of
from editing.stats import ModelStatistics
from editing.text import EditRequest

Changes = Mapping[str, WeightChange]  # by name of the weight


@dataclass(frozen=True)
class Tuning(Prefixed):
    """A method that trains parameters on the requests' prompts."""

    uses_covariance: ClassVar[bool] = False
    no_expert: ClassVar[str] = "its gradients are taken of maps that run for every token"

    steps: int = setting(25, "largest number of updates", least=1)
    lr: float = setting(0.005, "learning rate of Adam")
    stop_loss: float = setting(0.01, "loss below which a request is finished", unit="nats")

    @property
    def placed_by(self) -> tuple[str, ...]:
        """Not the lookup: all tokens of a prompt are read."""
        return ("site", "depth")

    @abstractmethod
    def _sites(self, lm: LanguageModel, layers: tuple[int, ...]) -> list[Site]:
        """The maps that are trained."""

    @abstractmethod
    def _parameters(self, sites: Sequence[Site]) -> int:
        """Number of trained parameters of one edit."""

    @abstractmethod
    def _descend(
        self, lm: LanguageModel, sites: Sequence[Site], problems: Sequence[TrainingSet]
    ) -> tuple[list[Changes], list[Outcome]]:
        """The changes of each problem, and how its descent ended."""

    def training_set(self, lm: LanguageModel, group: Sequence[EditRequest], statistics: ModelStatistics) -> TrainingSet:
        """What the one change for all requests of `group` is trained on."""
        prompts = [p for c in self.contexts(lm, group, statistics) for p in c.prompts]
        return TrainingSet(group[0].id, prompts)

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        return self._tune(lm, [[r] for r in requests], statistics)

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One change for the mean loss of all requests' prompts."""
        self.refuse_several_places(lm, requests)
        return self._tune(lm, [requests], statistics)[0]

    def _tune(
        self, lm: LanguageModel, groups: Sequence[Sequence[EditRequest]], statistics: ModelStatistics
    ) -> list[Delta]:
        """One delta per group of requests."""
        training_sets = [self.training_set(lm, group, statistics) for group in groups]
        deltas: dict[int, Delta] = {}
        for layers, members in self.by_layers(lm, [group[0] for group in groups]).items():
            sites = self._sites(lm, layers)
            for run in groups_of(len(members), self._parameters(sites)):
                chosen = [members[j] for j in run]
                changes, outcomes = self._descend(lm, sites, [training_sets[g] for g in chosen])
                for g, change, outcome in zip(chosen, changes, outcomes, strict=True):
                    made = self.provenance(lm, groups[g], statistics) | {"optimiser": outcome.note()}
                    deltas[g] = Delta(change, made)
        return [deltas[g] for g in range(len(groups))]
