"""The base of MEMIT and its descendants: target states at the last edited layer, approached layer by layer.

For each edited layer, under the edit made so far: read the keys K and how far the states still are from their targets,
take the layer's share R of that, and let the method solve for dW with R and K. Groups of requests are independent edits
of one model; the requests of one group are solved for together. All groups share the forward passes.

R is a change of the residual stream. Where a norm stands between the edited map and the stream (Gemma 2 and 3, OLMo 2),
it is no change of the map's output: Gemma's stream is hundreds of times longer than what its maps write, so that
dW k = R overwrites every output of the map. So there, delta is added in front of the norm, the target is what then
comes out behind it, and each layer's share is carried back through its own norm (`OutputNorm.before`). The papers edit
no such model; with the preset "published" their formula stands as it is.

Lengths of delta are in those of the output of the last edited map, as ROME's are, though delta is added behind the
block: the residual stream is many times longer in deep models, and steps of its length go past the target. On SmolLM2
MEMIT keeps .61 of neighbours and facts of the same subject so, .43 in the other unit (LOG.md). The papers' bound, in
the preset "published", is in the length of the stream.

At routed experts a request is carried by one expert of each edited block (`routed.py`), chosen under the edit made so
far; R divided by the router's weight is the change of its output.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from editing.delta import Delta, LowRank
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.base import Spanning
from editing.methods.locate_then_edit.routed import Part, Routed, expert_parts
from editing.model import EXPERT, LanguageModel, OutputNorm, Site, output_norm
from editing.solve import (
    Injection,
    Rising,
    Route,
    Value,
    bare_weights,
    group_mean,
    optimise_values,
    routes,
    states,
    type_weights,
    uses_half,
)
from editing.stats import ModelStatistics
from editing.text import Contexts, EditRequest

# What a sequence remembers of its earlier edits, by site path.
Memory = Mapping[str, "torch.Tensor"]


class Look(NamedTuple):
    """What is read of n units before a block is edited: its parts, the output of its map and that of the goal (n, d)
    at the bare prompts, and at routed experts the route of each unit."""

    parts: list[Part]
    output_nD: torch.Tensor
    state_nD: torch.Tensor
    chosen: list[Route]


@dataclass(frozen=True)
class Spread(Routed, Spanning):
    """Settings of all methods that spread an edit over blocks; the defaults are MEMIT's for GPT-J.

    In the paper's GPT-2 XL five of 48 blocks are edited.
    """

    published: ClassVar[Mapping[str, Any]] = {"clamp": 0.75}

    steps: int = 25
    clamp: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.site == "value":
            raise BadRequest(f"method {self.name}: site='value' does not write the residual stream; use mlp or attn")

    def in_keys(self, weight: float, site: Site) -> float:
        """A weight of C in the unit of k^T C^-1 k: a multiple of its mean over the corpus, d_in, or as published."""
        return weight * site.d_in if self.relative else weight

    @abstractmethod
    def _adjusted(
        self, statistics: ModelStatistics, site: Site, key_In: torch.Tensor, memory: Memory | None
    ) -> torch.Tensor:
        """(d_in, n) float32: the right factor of dW = R @ adjusted.T, for the keys of one group."""

    def _about(self, statistics: ModelStatistics, sites: Sequence[Site]) -> dict[str, Any]:
        """What the provenance says of the edited maps."""
        return {}

    def _share(self, left: int, layers: int) -> float:
        """The divisor of the residual when `left` of `layers` remain to be edited, this one included."""
        return float(left)

    def _units(self, requests: Sequence[EditRequest], contexts: Sequence[Contexts]) -> list[Contexts]:
        """The key/value pairs of one group: one per request by default."""
        return list(contexts)

    def _writer(self, lm: LanguageModel, layer: int) -> str:
        """The module that puts out what the edited maps of a block write; of routed experts the one that sums them."""
        return lm.experts[layer] if self.site == EXPERT else lm.site(self.site, layer).path

    def _goal(self, lm: LanguageModel, layer: int) -> str:
        """The module whose output at the lookup is to reach a target."""
        return lm.layout.blocks[layer]

    def _values(self, lm: LanguageModel, units: Sequence[Contexts], layer: int) -> list[Value]:
        """The change of the goal's output for every unit; of the map's own where a norm follows it."""
        if self._norm(lm, layer):
            where = Injection.at_site(lm.site(self.site, layer))
        else:
            where = Injection.at_block(lm, layer, unit=self._writer(lm, layer))
        return optimise_values(lm, units, where, self, seed=self.seed)

    def _norm(self, lm: LanguageModel, layer: int) -> OutputNorm | None:
        """The norm through which a share has to be carried back; None where there is none.

        Raises:
            BadRequest: it stands behind routed experts.
        """
        if self.site == EXPERT:
            if self.relative and lm.site("attn", layer).norm:
                raise BadRequest(
                    f"method {self.name}: site={EXPERT!r}; in {lm.name} a norm stands between the experts and the "
                    "residual stream, through which no share is carried back; use rome, or site attn"
                )
            return None
        return output_norm(lm, lm.site(self.site, layer)) if self.relative else None

    def _each(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> list[Delta]:
        return self._edit(lm, [[r] for r in requests], statistics, memory)

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """All requests in one joint solve per layer."""
        if len(requests) == 1:
            return self.each(lm, requests, statistics)[0]
        return self._edit(lm, [requests], statistics)[0]

    def _edit(
        self,
        lm: LanguageModel,
        groups: Sequence[Sequence[EditRequest]],
        statistics: ModelStatistics,
        memory: Memory | None = None,
    ) -> list[Delta]:
        """One delta per group; groups at different depths are computed one depth after another.

        Raises:
            BadRequest: an empty group, or requests of one group that are edited at different depths.
        """
        deltas: dict[int, Delta] = {}
        for group in groups:
            self.refuse_several_places(lm, group)
        for layers, members in self.by_layers(lm, [group[0] for group in groups]).items():
            edited = self._edit_layers(lm, [groups[n] for n in members], layers, statistics, memory)
            deltas |= dict(zip(members, edited, strict=True))
        return [deltas[n] for n in range(len(groups))]

    def _edit_layers(
        self,
        lm: LanguageModel,
        groups: Sequence[Sequence[EditRequest]],
        layers: tuple[int, ...],
        statistics: ModelStatistics,
        memory: Memory | None,
    ) -> list[Delta]:
        grouped = [self._units(g, self.contexts(lm, g, statistics)) for g in groups]
        units = [unit for group in grouped for unit in group]
        owner = [n for n, group in enumerate(grouped) for _ in group]
        norms = [self._norm(lm, layer) for layer in layers]
        if self.site == EXPERT:
            units = [route.contexts for route in routes(lm, layers[-1], units, self.expert)]
            unedited = [route.site for layer in layers for route in routes(lm, layer, units, self.expert)]
            statistics.prepare(dict.fromkeys(unedited))
        else:
            statistics.prepare([lm.site(self.site, layer) for layer in layers])
        values = self._values(lm, units, layers[-1])
        change_nD = _changes(values, norms[-1])
        goal = self._goal(lm, layers[-1])
        deltas = [Delta({}) for _ in groups]
        target_nD: torch.Tensor | None = None
        notes: list[dict[str, Any]] = [{"optimiser": []} for _ in groups]
        edited: list[list[Site]] = [[] for _ in groups]
        for value, n in zip(values, owner, strict=True):
            notes[n]["optimiser"].append(value.note())
        # Keys as precise as v*; experts are chosen by the weights themselves.
        source = lm.half if uses_half(lm, self.precision) and self.site != EXPERT else lm
        rising = Rising(source, [p for unit in units for p in unit.prompts])
        for step, layer in enumerate(layers):
            look = self._look(rising, units, layer, goal, deltas, owner, layer == layers[-1])
            if target_nD is None:
                target_nD = look.state_nD + change_nD
            residual_nD = (target_nD - look.state_nD) / self._share(len(layers) - step, len(layers))
            norm = norms[step]
            if norm is not None:
                residual_nD = norm.before(look.output_nD, residual_nD) - look.output_nD
            for n in range(len(groups)):
                members = [i for i, o in enumerate(owner) if o == n]
                changes = self._factors(statistics, look.parts, residual_nD, members, memory)
                deltas[n] = Delta({**deltas[n].factors, **changes})
                edited[n] += [part.site for part in look.parts if part.site.weight in changes]
                if look.chosen:
                    made = [{"block": layer, **look.chosen[i].note()} for i in members]
                    notes[n].setdefault("experts", []).append(made)
        return [
            Delta(d.factors, self.provenance(lm, list(g), statistics) | self._about(statistics, sites) | note)
            for d, g, sites, note in zip(deltas, groups, edited, notes, strict=True)
        ]

    def _factors(
        self,
        statistics: ModelStatistics,
        parts: Sequence[Part],
        residual_nD: torch.Tensor,
        members: Sequence[int],
        memory: Memory | None,
    ) -> dict[str, LowRank]:
        """The changes of one block's maps for the units `members` of one group, by name of the weight."""
        changes = {}
        for part in parts:
            reading = [i for i in members if part.reads[i]]
            if any(part.factor[i] for i in reading):
                right = self._adjusted(statistics, part.site, part.key_nI[reading].T, memory)
                left_nD = part.factor[reading, None] * residual_nD[reading]
                changes[part.site.weight] = LowRank(left_nD.T.contiguous(), right)
        return changes

    def _look(
        self,
        rising: Rising,
        units: Sequence[Contexts],
        layer: int,
        goal: str,
        deltas: Sequence[Delta],
        owner: Sequence[int],
        final: bool,
    ) -> Look:
        """Unit i under `deltas[owner[i]]`: keys at the edited maps of block `layer` (mean of type means), and the
        outputs; `final` where no block behind it is edited."""
        lm = rising.lm
        rows = [o for u, o in zip(units, owner, strict=True) for _ in u.prompts]
        live = deltas if any(d.factors for d in deltas) else []
        bare = [bare_weights(u) for u in units]
        if self.site == EXPERT:
            chosen = routes(lm, layer, units, self.expert, deltas=live, owner=owner)
            parts = expert_parts(lm, chosen, list(dict.fromkeys(r.site for r in chosen)), live, owner)
            state = states(lm, rising.prompts, [(goal, "output")], deltas=live, rows=rows)
            reached_nD = group_mean(state[goal, "output"], units, bare)
            return Look(parts, reached_nD, reached_nD, chosen)
        site = lm.site(self.site, layer)
        read, written, reached = (site.path, "input"), (site.path, "output"), (goal, "output")
        places = list(dict.fromkeys((read, written, reached)))
        state = rising.read(places, live, rows, next_change=None if final else layer)
        keys = group_mean(state[read], units, [type_weights(u) for u in units])
        part = Part(site, keys, [True] * len(units), torch.ones(len(units)))
        return Look([part], group_mean(state[written], units, bare), group_mean(state[reached], units, bare), [])


def _changes(values: Sequence[Value], norm: OutputNorm | None) -> torch.Tensor:
    """(n, d) float32 change of the residual stream: delta, or what of it comes out behind the norm."""
    delta = torch.stack([v.delta for v in values])
    if norm is None:
        return delta
    start = torch.stack([v.v0 for v in values])
    return (norm(start + delta) - norm(start)).float()


def weighted_least_squares(
    statistics: ModelStatistics, site: Site, key_In: torch.Tensor, weight: float
) -> torch.Tensor:
    """(weight C + K K^T)^-1 K by the Woodbury identity: C^-1 K (weight I + K^T C^-1 K)^-1, so C is factorised once.

    `weight` 0 gives the equality constraint dW K = R. (d_in, n) float32.

    Raises:
        BadRequest: the keys are (nearly) dependent and the weight is too small to decide between them.
    """
    solved = statistics.solve(site, key_In)
    inner = key_In.double().T @ solved
    inner = inner + weight * torch.eye(len(inner), dtype=torch.float64)
    if not weight and float(torch.linalg.cond(inner)) > 1e10:
        raise BadRequest(
            f"site {site.path}: two requests of the batch have the same key, no change satisfies both; "
            "give a weight above 0"
        )
    return torch.linalg.solve(inner, solved.T).T.float().contiguous()
