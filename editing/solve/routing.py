"""Which routed expert an edit changes, and the contexts that reach it.

A change of an expert acts where the router sends the token to it. So the contexts of a request that are sent elsewhere
at the lookup take no part in its edit: neither in the key nor in the search for v*, whose loss they could not lower.
What an expert's map is changed by reaches the residual stream times the router's weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from editing.delta import Delta
from editing.errors import Unreachable
from editing.lazy import torch
from editing.model import LanguageModel, Site, holder_and_index
from editing.solve.keys import states
from editing.text import Contexts

AUTO = "auto"


@dataclass(frozen=True, eq=False)
class Route:
    """The expert that is edited for one request.

    Attributes:
        site, index: of the expert.
        request: all contexts.
        weights: (contexts, experts) of the router; 0 where a context is not sent to an expert.
    """

    site: Site
    index: int
    request: Contexts
    weights: torch.Tensor

    @property
    def contexts(self) -> Contexts:
        """Those that are sent to the expert."""
        return sent_contexts(self.request, self.sent_to(self.index))

    @property
    def share(self) -> float:
        """Mean of the router's weight for the expert over the bare prompts that are sent to it."""
        weight = self.weights[: self.request.n_bare, self.index]
        return float(weight[weight > 0].mean())

    def sent_to(self, index: int) -> list[bool]:
        """Of each context, whether it is sent to the expert `index`."""
        return (self.weights[:, index] > 0).tolist()

    def note(self) -> dict[str, float]:
        """The choice in a delta's provenance."""
        sent = self.sent_to(self.index)
        weight = float(self.weights[:, self.index].mean())
        return {"index": self.index, "weight": weight, "contexts": sum(sent), "of_contexts": len(sent)}


def routes(
    lm: LanguageModel,
    layer: int,
    requests: Sequence[Contexts],
    expert: int | str,
    *,
    deltas: Sequence[Delta] = (),
    owner: Sequence[int] = (),
) -> list[Route]:
    """The expert of block `layer` for each request, the model being under `deltas[owner[i]]` for request i.

    Args:
        expert: its index; or AUTO, the one with the greatest mean of the router's weight at the lookup over the
            request's contexts, among those that a bare prompt is sent to.

    Raises:
        NoSite: the block has no such expert.
        Unreachable: no bare prompt of a request is sent to it.
    """
    lm.expert_site(layer, 0 if expert == AUTO else int(expert))
    place = (lm.experts[layer], "routing")
    prompts = [p for c in requests for p in c.prompts]
    rows = [o for c, o in zip(requests, owner, strict=True) for _ in c.prompts] if deltas else None
    weights = states(lm, prompts, [place], deltas=deltas, rows=rows)[place]
    parts = weights.split([len(c.prompts) for c in requests])
    return [_route(lm, layer, c, w, expert) for c, w in zip(requests, parts, strict=True)]


def reaching(lm: LanguageModel, path: str, requests: Sequence[Contexts]) -> list[Contexts]:
    """The requests of which a bare prompt is sent to the expert at `path`, with the contexts that are."""
    holder, index = holder_and_index(path)
    place = (holder, "routing")
    weights = states(lm, [p for c in requests for p in c.prompts], [place])[place][:, index]
    parts = (weights > 0).split([len(c.prompts) for c in requests])
    return [sent_contexts(c, sent.tolist()) for c, sent in zip(requests, parts, strict=True) if sent[: c.n_bare].any()]


def sent_contexts(request: Contexts, sent: Sequence[bool]) -> Contexts:
    """The contexts that are sent."""
    chosen = tuple(p for p, yes in zip(request.prompts, sent, strict=True) if yes)
    return replace(request, prompts=chosen, n_bare=sum(sent[: request.n_bare]))


def _route(lm: LanguageModel, layer: int, request: Contexts, weights: torch.Tensor, expert: int | str) -> Route:
    reached = (weights[: request.n_bare] > 0).any(0)
    index = int(torch.where(reached, weights.mean(0), -1.0).argmax()) if expert == AUTO else int(expert)
    if not reached[index]:
        there = ", ".join(str(i) for i in torch.nonzero(reached).flatten().tolist())
        raise Unreachable(
            f"request {request.id!r}: block {layer} sends its prompt to experts {there}, not to {index}; use one of "
            f"these, or expert={AUTO}"
        )
    return Route(lm.expert_site(layer, index), index, request, weights)
