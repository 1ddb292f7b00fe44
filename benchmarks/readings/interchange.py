"""Interchange: whether a subspace of a state holds one attribute of an entity, and nothing else.

The state at the subject's last token of a base prompt is exchanged, inside a rank-k subspace, with that of a source
prompt about another entity. *cause*: the share of prompts for the attribute that then give the source's attribute;
*isolation*: the share of prompts for other attributes that still give the base's own (Huang et al. 2024, RAVEL,
section 2). The subspace is learned on other entities by distributed alignment search, with both goals in its loss
(multi-task DAS, their section 4). An answer counts when greedy decoding gives the whole of it.

Beside it, in the column `control`: `mean_difference` and `pca` subspaces of the same rank (cheap baselines), `full`
(the whole state: the ceiling of cause), `random` (a subspace drawn at random). `en-fr`: the subspace learned in English
takes the state from an English prompt and puts it into a French one; `fr`: the same subspace, both prompts French.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.readings.base import Reading, Row, row
from benchmarks.readings.prompts import Answers, Prepared, ReadingInput, block_states
from benchmarks.readings.prompts.rotations import (
    Training,
    class_subspace,
    learn_subspace,
    principal_subspace,
    random_subspace,
    swapped,
)
from benchmarks.readings.prompts.swaps import Swap, base_key, base_prompt, draw_swaps, known_entities
from editing.lazy import torch
from editing.seeds import seed_for
from editing.solve import setting

LEAST = 6  # entities that an attribute needs
DEEP = 8  # blocks; of models with more, `ends` decides on the first and the last of the layers
CONTROLS = ("none", "mean_difference", "pca", "full", "random")
PER_CONCEPT = ("none", "full", "random")  # controls that have a row per entity


@dataclass(frozen=True)
class Interchange(Reading):
    """Entities are those whose attribute, and at least one other, the model answers right."""

    name: ClassVar[str] = "interchange"
    summary: ClassVar[str] = "cause and isolation of a learned subspace of one attribute (DAS), across languages too"
    measures: ClassVar[dict[str, str]] = {
        "cause": "share of swaps after which the attribute is that of the source entity",
        "isolation": "share of swaps after which the other attributes are unchanged",
    }

    version: ClassVar[int] = 4  # before, the first questions of the material were the base prompts

    layers: int = 4
    ends: bool = setting(False, "whether the ends of the layers are read in models of more than 8 blocks too")
    rank: float = setting(0.125, "dimensions of the subspace", unit="of the width")
    relations: int = setting(6, "largest number of attributes, those with most known entities; 0: all")
    swaps: int = setting(64, "swaps per attribute in training, and in each test", unit="swaps", least=1)
    folds: int = setting(2, "folds of entities; each is tested with the subspace of the others", least=2)
    steps: int = setting(40, "largest number of steps of the search for the subspace")
    enough: float = setting(0.2, "mean loss of a pass over the swaps at which the search ends", unit="nats")
    lr: float = setting(0.02, "learning rate of that search")

    def rows(self, source: ReadingInput) -> list[Row]:
        lm, first = source.lm, source.material.langs[0]
        layers = self.places(lm.n_layers)
        known = {relation: known_entities(source, relation, first) for relation in source.material.relations}
        ranked = sorted(known, key=lambda relation: -len(known[relation]))
        out = []
        for relation in ranked[: self.relations] if self.relations else ranked:
            if len(known[relation]) < LEAST:
                out.append(row("cause", np.nan, lang=first, relation=relation, n=len(known[relation])))
            else:
                out += self._relation(source, relation, known[relation], layers)
        return out

    def places(self, blocks: int) -> list[int]:
        """The layers that are read, -1 for the embedding; what stands behind the last block is read by nothing."""
        layers = self.chosen_layers(-1, blocks - 2)
        if not self.layers or self.ends or blocks <= DEEP or len(layers) <= 2:
            return layers
        # The search at the embedding costs as much as at all the others; at the other end nothing is left to find.
        return layers[1:-1]

    def _relation(self, source: ReadingInput, relation: str, entities: list[str], layers: list[int]) -> list[Row]:
        rng = np.random.default_rng(seed_for(self.seed, f"interchange/{relation}"))
        order = rng.permutation(np.array(entities, dtype=object))
        folds = [list(order[i :: self.folds]) for i in range(self.folds)]
        first = source.material.langs[0]
        ways = [(first, first)] + [
            way for other in source.material.langs[1:2] for way in ((other, other), (first, other))
        ]
        drawn = []
        for held in folds:
            learned = [name for name in entities if name not in set(held)]
            train = draw_swaps(source, relation, learned, (first, first), self.swaps, rng)
            drawn.append((train, {way: draw_swaps(source, relation, held, way, self.swaps, rng) for way in ways}))
        sets = [swaps for train, tests in drawn for swaps in (train, *tests.values())]
        if not any(sets):
            return []
        ready = iter(_Swaps.read(source, sets, layers))
        hits: dict[tuple[int, str, str, str], list[tuple[str, bool]]] = {}
        for number in range(len(folds)):
            train, tests = next(ready), {way: next(ready) for way in ways}
            if not train.swaps or not tests[first, first].swaps:
                continue
            for layer in layers:
                seed = seed_for(self.seed, f"interchange/{relation}/{layer}/{number}")
                for control, basis in self._subspaces(train, layer, seed).items():
                    for way, test in tests.items():
                        lang = way[1] if way[0] == way[1] else "-".join(way)
                        for swap, exact in zip(test.swaps, test.exact(layer, basis), strict=True):
                            measure = "cause" if swap.moves else "isolation"
                            hits.setdefault((layer, lang, measure, control), []).append((swap.entity, exact))
        return self._table(relation, hits)

    def _subspaces(self, swaps: _Swaps, layer: int, seed: int) -> dict[str, torch.Tensor | None]:
        """Control -> orthonormal basis; None is the whole state."""
        states = swaps.states[layer]
        d = states.shape[1]
        k = min(d, max(1, round(self.rank * d)))
        labels = [swap.answer for swap in swaps.swaps]
        means = class_subspace(states, labels, k)
        training = Training(self.steps, self.lr, enough=self.enough)

        def loss(basis: torch.Tensor, members: list[int]) -> torch.Tensor:
            return -swaps.answers(layer, basis, members).logp.mean()

        return {
            "none": learn_subspace(loss, means, len(swaps.swaps), training, seed),
            "mean_difference": means,
            "pca": principal_subspace(states, k),
            "full": None,
            "random": random_subspace(d, k, seed),
        }

    def _table(self, relation: str, hits: dict) -> list[Row]:
        out = []
        for (layer, lang, measure, control), values in hits.items():
            about = {"layer": layer, "position": "subject_last", "lang": lang, "relation": relation}
            about |= {"control": control}
            out.append(row(measure, float(np.mean([hit for _, hit in values])), n=len(values), **about))
            if control not in PER_CONCEPT:
                continue
            for entity in dict.fromkeys(name for name, _ in values):
                own = [hit for name, hit in values if name == entity]
                out.append(row(measure, float(np.mean(own)), concept=entity, n=len(own), **about))
        return out


@dataclass(frozen=True)
class _Swaps:
    """n swaps whose prompts have been read.

    Attributes:
        bases: the base prompts of these and of other swaps, each once. rows: which of them each swap has, (n,).
        states: layer -> (n, d) states of the source prompts at the subject's last token.
    """

    swaps: Sequence[Swap]
    bases: Prepared
    rows: list[int]
    states: dict[int, torch.Tensor]

    @classmethod
    def read(cls, source: ReadingInput, sets: Sequence[Sequence[Swap]], layers: Sequence[int]) -> list[_Swaps]:
        """Several sets of swaps; a prompt that some of them share is read once."""
        every = [swap for swaps in sets for swap in swaps]
        bases = {key: number for number, key in enumerate(dict.fromkeys(map(base_key, every)))}
        sources = {place: number for number, place in enumerate(dict.fromkeys(swap.source for swap in every))}
        prepared = Prepared.of(source.lm, [base_prompt(source, *key) for key in bases])
        states = block_states(source.lm, [source.prompts[place] for place in sources], layers)
        out = []
        for swaps in sets:
            own = states[[sources[swap.source] for swap in swaps]]
            by_layer = {layer: own[:, at] for at, layer in enumerate(layers)}
            out.append(cls(swaps, prepared, [bases[base_key(swap)] for swap in swaps], by_layer))
        return out

    def hidden(self, layer: int, basis: torch.Tensor | None, members: list[int]) -> torch.Tensor:
        """(m, S, d) states behind `layer` of the base prompts, those at the cut swapped."""
        hidden = self.bases.behind[layer + 1][[self.rows[m] for m in members]]
        put = self.states[layer][members].to(hidden.device, hidden.dtype)
        if basis is not None:
            put = swapped(hidden[:, 0], put, basis.to(hidden.device, hidden.dtype))
        return torch.cat([put[:, None], hidden[:, 1:]], 1)

    def answers(self, layer: int, basis: torch.Tensor | None, members: list[int]) -> Answers:
        """What is answered after the swaps `members`, judged by the answers that are expected."""
        return self.bases.answers_by_length(
            layer, [self.rows[m] for m in members], lambda part: self.hidden(layer, basis, [members[i] for i in part])
        )

    def exact(self, layer: int, basis: torch.Tensor | None) -> list[bool]:
        """Whether the answers after the swaps are the expected ones; swaps that were drawn twice are run once."""
        first: dict[tuple[int, int], int] = {}
        same_as = [
            first.setdefault((r, s.source), m) for m, (r, s) in enumerate(zip(self.rows, self.swaps, strict=True))
        ]
        if not first:
            return []
        distinct = list(first.values())
        with torch.no_grad():
            hits = dict(zip(distinct, self.answers(layer, basis, distinct).exact.tolist(), strict=True))
        return [hits[m] for m in same_as]
