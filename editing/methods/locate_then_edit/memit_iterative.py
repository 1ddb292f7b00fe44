"""Iterative MEMIT: MEMIT again on the edited model until the target is reached (Dong, Nguyen & Wang 2025, "Resolving
UnderEdit & OverEdit with Iterative & Neighbor-Assisted Model Editing", arXiv 2503.11895, algorithm 1).

One round of MEMIT writes a share of its residual only, so that the edited model often falls short of z ("underedit").
Each round searches z anew on the model as edited so far and writes again; rounds stop when the target's mean NLL per
token over the request's own prompts is below `reached`, or after `rounds`. The first round is MEMIT's edit. C and the
prefixes stay those of the unedited model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from editing.delta import Delta, compose
from editing.eval import continuation_logprobs
from editing.methods.base import setting
from editing.methods.locate_then_edit.memit import MEMIT
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from editing.text import EditRequest, continuation_ids


@dataclass(frozen=True)
class MEMITIterative(MEMIT):
    """Settings are MEMIT's and those of the rounds."""

    name: ClassVar[str] = "memit_iterative"
    summary: ClassVar[str] = "MEMIT again on the edited model until the target is reached (Dong et al. 2025)"

    rounds: int = setting(5, "largest number of rounds", least=1)
    reached: float = setting(0.2, "loss of the targets below which no more rounds follow", unit="nats")

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        first = super().each(lm, requests, statistics)
        return [self._further(lm, [r], statistics, delta) for r, delta in zip(requests, first, strict=True)]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """Rounds of the joint edit, until the mean loss of all requests is reached."""
        if len(requests) == 1:
            return self.each(lm, requests, statistics)[0]
        return self._further(lm, requests, statistics, self._edit(lm, [requests], statistics)[0])

    def _further(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, first: Delta
    ) -> Delta:
        """The sum of `first` and what the further rounds add; the provenance has the loss of an undone round too."""
        rounds, losses = [first], [loss_under(lm, requests, first)]
        lookup = "last" if "moved" in first.provenance else self.lookup
        while losses[-1] >= self.reached and len(rounds) < self.rounds:
            so_far = Delta(compose(rounds).factors)
            with so_far.applied(lm):
                rounds.append(replace(self, lookup=lookup)._edit(lm, [requests], statistics)[0])
            losses.append(loss_under(lm, requests, Delta(compose(rounds).factors)))
            if self.relative and losses[-1] > losses[-2]:
                rounds.pop()
                break
        optimiser = [r.provenance["optimiser"] for r in rounds]
        provenance = {**first.provenance, "optimiser": optimiser, "losses": losses}
        return Delta(compose(rounds).factors, provenance)


def loss_under(lm: LanguageModel, requests: Sequence[EditRequest], delta: Delta) -> float:
    """Mean NLL per token of the targets behind the requests' prompts, in nats, of the edited model."""
    prompts = [text for r in requests for text in r.filled()]
    targets = [text for r in requests for text in r.targets]
    said = continuation_logprobs(lm, prompts, [[t] for t in targets], [delta])
    tokens = [len(continuation_ids(lm, p, t)) for p, t in zip(prompts, targets, strict=True)]
    return sum(-float(logp[0]) / count for logp, count in zip(said, tokens, strict=True)) / len(prompts)
