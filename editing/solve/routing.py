"""Which routed expert an edit changes, and the contexts that reach it.

A change of an expert acts where the router sends the token to it. So the contexts of a request that are sent elsewhere
at the lookup take no part in its edit: neither in the key nor in the search for v*, whose loss they could not lower.
v* is the output of the expert's map; in the search as in the model the router's weight multiplies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from editing.errors import Unreachable
from editing.lazy import torch
from editing.model import LanguageModel, Site
from editing.solve.keys import states
from editing.text import Contexts

AUTO = "auto"


@dataclass(frozen=True)
class Route:
    """The expert that is edited for one request.

    Attributes:
        contexts: those that are sent to it. read: how many there were in all.
        weight: mean of the router's weight for it over all of them.
    """

    site: Site
    index: int
    contexts: Contexts
    read: int
    weight: float

    def note(self) -> dict[str, float]:
        """The choice in a delta's provenance."""
        sent = len(self.contexts.prompts)
        return {"index": self.index, "weight": self.weight, "contexts": sent, "of_contexts": self.read}


def routes(lm: LanguageModel, layer: int, requests: Sequence[Contexts], expert: int | str) -> list[Route]:
    """The expert of block `layer` for each request.

    Args:
        expert: its index; or AUTO, the one with the greatest mean of the router's weight at the lookup over the
            request's contexts, among those that a bare prompt is sent to.

    Raises:
        NoSite: the block has no such expert.
        Unreachable: no bare prompt of a request is sent to it.
    """
    lm.expert_site(layer, 0 if expert == AUTO else int(expert))
    place = (lm.experts[layer], "routing")
    weights = states(lm, [p for c in requests for p in c.prompts], [place])[place]
    parts = weights.split([len(c.prompts) for c in requests])
    return [_route(lm, layer, c, w, expert) for c, w in zip(requests, parts, strict=True)]


def _route(lm: LanguageModel, layer: int, request: Contexts, weight: torch.Tensor, expert: int | str) -> Route:
    """`weight` (contexts, experts)."""
    reached = (weight[: request.n_bare] > 0).any(0)
    mean = weight.mean(0)
    index = int(torch.where(reached, mean, -1.0).argmax()) if expert == AUTO else int(expert)
    if not reached[index]:
        there = ", ".join(str(i) for i in torch.nonzero(reached).flatten().tolist())
        raise Unreachable(
            f"request {request.id!r}: block {layer} sends its prompt to experts {there}, not to {index}; use one of "
            f"these, or expert={AUTO}"
        )
    sent = (weight[:, index] > 0).tolist()
    chosen = tuple(p for p, yes in zip(request.prompts, sent, strict=True) if yes)
    contexts = replace(request, prompts=chosen, n_bare=sum(sent[: request.n_bare]))
    return Route(lm.expert_site(layer, index), index, contexts, len(sent), float(mean[index]))
