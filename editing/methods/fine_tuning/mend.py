"""MEND: a network, trained once per model, makes an edit of the gradient of its loss (Mitchell et al. 2022, "Fast Model
Editing at Scale", eq. 3-4).

The network (hypernetwork.py) is trained under a budget that is the same for every model, so that a ladder compares what
is available at each size and not how long each was trained. It minimises

    edit_weight * NLL(target | a text that contains the prompt) + KL(unedited || edited) on another text.

Deviations: the paper trains on a data set of edits and their paraphrases. Here the edits are of texts that the model
draws, so that nothing of the questions is learnt: behind some tokens of one text it is to say what another one says
there, also where a third one stands in front; the KL is taken over a fourth. One kind of map is edited, not both maps
of the MLP. In the preset "scale_free" the rate at the start is in units of the map's own outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from editing.delta import Delta, LowRank
from editing.errors import Unreachable
from editing.lazy import torch
from editing.methods.base import Spanning, setting
from editing.methods.fine_tuning.gradients import read_features
from editing.methods.fine_tuning.hypernetwork import Hypernetwork
from editing.methods.fine_tuning.mend_training import Budgeted, train
from editing.model import LanguageModel, Site, in_rows
from editing.stats import ModelStatistics
from editing.text import Contexts, EditRequest


@dataclass(frozen=True)
class Mend(Spanning, Budgeted):
    """Settings of the network and its training; the paper edits the last three blocks and has no prefixes."""

    name: ClassVar[str] = "mend"
    summary: ClassVar[str] = "a trained network makes an edit of the gradient (MEND; Mitchell et al. 2022)"
    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.999, "last": 0.999}
    uses_covariance: ClassVar[bool] = False
    no_expert: ClassVar[str] = "its gradients are taken of maps that run for every token"
    published: ClassVar[Mapping[str, Any]] = {"rate": 1e-4, "lr": 1e-6, "rank": 1920}

    span: float = 0.1
    prefixes: int = 0
    rate: float = setting(0.1, "rate of a map before training", unit="output RMS")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rate:
            raise self.refuse("rate", "above 0")

    @property
    def placed_by(self) -> tuple[str, ...]:
        """Not the lookup: all tokens of a prompt are read."""
        return ("site", "depth")

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        contexts = self.contexts(lm, requests, statistics)
        deltas: dict[int, Delta] = {}
        for layers, members in self.by_layers(lm, requests).items():
            sites = [lm.site(self.site, layer) for layer in layers]
            network, loss = self._network(lm, sites, statistics)
            for i in members:
                made = self.provenance(lm, [requests[i]], statistics) | {"optimiser": {"loss": loss}}
                deltas[i] = Delta(self._changes(lm, network, sites, contexts[i]), made)
        return [deltas[i] for i in range(len(requests))]

    def prepare(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> None:
        """Train the network on the unedited model."""
        for layers in self.by_layers(lm, requests):
            self._network(lm, [lm.site(self.site, layer) for layer in layers], statistics)

    def _network(
        self, lm: LanguageModel, sites: Sequence[Site], statistics: ModelStatistics
    ) -> tuple[Hypernetwork, float]:
        """The trained network and its last loss; both are kept with the model's statistics."""
        budget = {key: value for key, value in asdict(self).items() if key not in ("prefixes", "lookup", "depth")}
        key = f"{[site.path for site in sites]} {sorted(budget.items())} {lm.prefix_ids}"

        def make() -> dict[str, torch.Tensor]:
            with lm.unedited():
                network, loss = train(lm, sites, self, self.rate, self.relative, self.seed)
            return {**network.tensors, "loss": torch.tensor(loss)}

        tensors = dict(statistics.keep("mend", key, make))
        loss = float(tensors.pop("loss"))
        return Hypernetwork(tensors), loss

    def _changes(
        self, lm: LanguageModel, network: Hypernetwork, sites: Sequence[Site], context: Contexts
    ) -> dict[str, LowRank]:
        """The change of every map, the mean over the request's prompts of the sum over the tokens of each."""
        count = len(context.prompts)
        shares = [[1 / len(p.target) for p in context.prompts]]
        read = read_features(lm, [context], sites, shares, "text")
        if not any(bool(features.reached.any()) for features in read.values()):
            raise Unreachable(
                f"request {context.id!r}: no token of the target depends on the edited maps, so no edit there is "
                "reachable; take another site or a lower depth"
            )
        changes = {}
        with torch.no_grad():
            for site, features in read.items():
                key_NI, value_NO = network.factors(site, features)
                used = features.reached
                left = in_rows(value_NO[used] / count, site.rows, site.d_out)
                changes[site.weight] = LowRank(left.T.contiguous(), key_NI[used].T.contiguous())
        return changes
