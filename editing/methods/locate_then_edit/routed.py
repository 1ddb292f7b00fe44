"""What locate-then-edit methods share at routed experts (`site=expert`): the choice of the expert, and what is read
there.

A request is carried by one expert of a block, the one that its router prefers at the lookup. Of several requests that
are solved for together, each expert's least squares has the keys of all that are sent to it: those that it carries with
the change that they need, times 1 / the router's weight, and those that another expert carries with no change, so that
nothing is written twice. C is that of the corpus' tokens that are sent to the expert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from editing.delta import Delta
from editing.lazy import torch
from editing.methods.base import setting
from editing.methods.locate_then_edit.moving import Moving
from editing.model import EXPERT, LanguageModel, Site, holder_and_index
from editing.solve import AUTO, Route, group_mean, sent_contexts, states, type_weights
from editing.stats import ModelStatistics
from editing.text import Contexts, EditRequest


class Part(NamedTuple):
    """One edited map of a block, for n units (key/value pairs).

    Attributes:
        key_nI: (n, d_in) keys; those of units that it does not read are 0.
        reads: (n,) whether the unit's token reaches it.
        factor: (n,) by which the change of the residual stream is multiplied to be that of the map's output; 0 for
            units that another expert carries.
    """

    site: Site
    key_nI: torch.Tensor
    reads: list[bool]
    factor: torch.Tensor


@dataclass(frozen=True)
class Routed(Moving):
    """The expert is known when the contexts of a request are read, so `edited_sites` has it only by its index."""

    no_expert: ClassVar[str] = ""

    expert: int | str = setting(AUTO, "routed expert at site expert, its index; auto: by the router")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.expert, str) and self.expert != AUTO:
            raise self.refuse("expert", f"{AUTO} or the index of an expert")

    def edited_sites(self, lm: LanguageModel, request: EditRequest) -> tuple[Site, ...]:
        if self.site != EXPERT:
            return super().edited_sites(lm, request)
        layers = self.placement(lm, request).layers
        return () if self.expert == AUTO else tuple(lm.expert_site(layer, int(self.expert)) for layer in layers)

    def prepare(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> None:
        if self.site != EXPERT:
            super().prepare(lm, requests, statistics)


def expert_parts(
    lm: LanguageModel, chosen: Sequence[Route], sites: Sequence[Site], deltas: Sequence[Delta], owner: Sequence[int]
) -> list[Part]:
    """What each of `sites`, experts of one block, reads of the units whose routes are `chosen`, unit i under
    `deltas[owner[i]]`. The key of a unit is the mean of type means over its contexts that are sent to the expert."""
    units = [route.request for route in chosen]
    prompts = [p for u in units for p in u.prompts]
    rows = [o for u, o in zip(units, owner, strict=True) for _ in u.prompts] if deltas else None
    state = states(lm, prompts, [(site.path, "input") for site in sites], deltas=deltas, rows=rows)
    parts = []
    for site in sites:
        index = holder_and_index(site.path)[1]
        sent = [route.sent_to(index) for route in chosen]
        weights = [_type_weights(unit, flags) for unit, flags in zip(units, sent, strict=True)]
        factor = torch.tensor([1 / route.share if route.index == index else 0.0 for route in chosen])
        reads = [any(flags[: unit.n_bare]) for unit, flags in zip(units, sent, strict=True)]
        parts.append(Part(site, group_mean(state[site.path, "input"], units, weights), reads, factor))
    return parts


def experts_in(lm: LanguageModel, delta: Delta) -> dict[int, list[Site]]:
    """The experts that a delta changes, by block."""
    found: dict[int, list[Site]] = {}
    for layer, path in enumerate(lm.experts):
        sites = lm.expert_sites(layer) if path else ()
        if own := [site for site in sites if site.weight in delta.factors]:
            found[layer] = own
    return found


def _type_weights(unit: Contexts, sent: Sequence[bool]) -> list[float]:
    """`type_weights` over the contexts that are sent, 0 for the others; all 0 where no bare prompt is."""
    if not any(sent[: unit.n_bare]):
        return [0.0] * len(sent)
    weights = iter(type_weights(sent_contexts(unit, sent)))
    return [next(weights) if yes else 0.0 for yes in sent]
