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
import torch

from benchmarks.readings.base import Reading, Row, row
from benchmarks.readings.prompts import Prepared, ReadingInput
from benchmarks.readings.prompts.prepared import in_batches
from benchmarks.readings.prompts.rotations import (
    Training,
    class_subspace,
    learn_subspace,
    principal_subspace,
    random_subspace,
    swapped,
)
from benchmarks.readings.prompts.swaps import Swap, draw_swaps, known_entities, tokenised
from editing.seeds import seed_for
from editing.solve import setting

LEAST = 6  # entities that an attribute needs
CONTROLS = ("none", "mean_difference", "pca", "full", "random")
PER_CONCEPT = ("none", "full")  # controls that have a row per entity


@dataclass(frozen=True)
class Interchange(Reading):
    """Entities are those whose attribute, and at least one other, the model answers right."""

    name: ClassVar[str] = "interchange"
    summary: ClassVar[str] = "cause and isolation of a learned subspace of one attribute (DAS), across languages too"
    measures: ClassVar[dict[str, str]] = {
        "cause": "share of swaps after which the attribute is that of the source entity",
        "isolation": "share of swaps after which the other attributes are unchanged",
    }

    layers: int = 4
    rank: float = setting(0.125, "dimensions of the subspace", unit="of the width")
    relations: int = setting(6, "largest number of attributes, those with most known entities; 0: all")
    swaps: int = setting(64, "swaps per attribute in training, and in each test", unit="swaps")
    folds: int = setting(2, "folds of entities; each is tested with the subspace of the others")
    steps: int = setting(40, "steps of the search for the subspace")
    lr: float = setting(0.02, "learning rate of that search")

    def rows(self, source: ReadingInput) -> list[Row]:
        lm, first = source.lm, source.material.langs[0]
        layers = self.chosen_layers(-1, lm.n_layers - 2)  # what stands behind the last block is read by nothing
        known = {relation: known_entities(source, relation, first) for relation in source.material.relations}
        ranked = sorted(known, key=lambda relation: -len(known[relation]))
        out = []
        for relation in ranked[: self.relations] if self.relations else ranked:
            if len(known[relation]) < LEAST:
                out.append(row("cause", np.nan, lang=first, relation=relation, n=len(known[relation])))
            else:
                out += self._relation(source, relation, known[relation], layers)
        return out

    def _relation(self, source: ReadingInput, relation: str, entities: list[str], layers: list[int]) -> list[Row]:
        rng = np.random.default_rng(seed_for(self.seed, f"interchange/{relation}"))
        order = rng.permutation(np.array(entities, dtype=object))
        folds = [list(order[i :: self.folds]) for i in range(self.folds)]
        first = source.material.langs[0]
        ways = [(first, first)] + [
            way for other in source.material.langs[1:2] for way in ((other, other), (first, other))
        ]
        hits: dict[tuple[int, str, str, str], list[tuple[str, bool]]] = {}
        for number, held in enumerate(folds):
            learned = [name for name in entities if name not in set(held)]
            train = draw_swaps(source, relation, learned, (first, first), self.swaps, rng)
            tests = {way: draw_swaps(source, relation, held, way, self.swaps, rng) for way in ways}
            if not train or not tests[first, first]:
                continue
            prepared = _Swaps.of(source, train)
            ready = {way: _Swaps.of(source, test) for way, test in tests.items() if test}
            for layer in layers:
                seed = seed_for(self.seed, f"interchange/{relation}/{layer}/{number}")
                for control, basis in self._subspaces(prepared, layer, seed).items():
                    for way, swaps in ready.items():
                        lang = way[1] if way[0] == way[1] else "-".join(way)
                        for swap, exact in zip(swaps.swaps, swaps.exact(layer, basis), strict=True):
                            measure = "cause" if swap.moves else "isolation"
                            hits.setdefault((layer, lang, measure, control), []).append((swap.entity, exact))
        return self._table(relation, hits)

    def _subspaces(self, swaps: _Swaps, layer: int, seed: int) -> dict[str, torch.Tensor | None]:
        """Control -> orthonormal basis; None is the whole state."""
        states = swaps.sources.at_cut(layer).float()
        d = states.shape[1]
        k = min(d, max(1, round(self.rank * d)))
        labels = [swap.answer for swap in swaps.swaps]
        means = class_subspace(states, labels, k)
        training = Training(self.steps, self.lr)

        def loss(basis: torch.Tensor, members: list[int]) -> torch.Tensor:
            return -swaps.logp(layer, basis, members).mean()

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
    """Swaps with base and source prompts read once."""

    swaps: Sequence[Swap]
    bases: Prepared
    sources: Prepared

    @classmethod
    def of(cls, source: ReadingInput, swaps: Sequence[Swap]) -> _Swaps:
        bases, sources = tokenised(source, swaps)
        return cls(swaps, Prepared.of(source.lm, bases), Prepared.of(source.lm, sources))

    def hidden(self, layer: int, basis: torch.Tensor | None, members: list[int]) -> torch.Tensor:
        """(m, S, d) states behind `layer` of the base prompts, those at the cut swapped."""
        hidden = self.bases.behind[layer + 1][members].clone()
        put = self.sources.at_cut(layer)[members]
        if basis is not None:
            put = swapped(hidden[:, 0], put, basis.to(hidden.device, hidden.dtype))
        return torch.cat([put[:, None], hidden[:, 1:]], 1)

    def exact(self, layer: int, basis: torch.Tensor | None, batch: int = 64) -> list[bool]:
        """Whether the answers after the swaps are the expected ones."""
        out: list[bool] = []
        with torch.no_grad():
            for members in in_batches(len(self.swaps), batch):
                out += self.bases.answers(layer, members, self.hidden(layer, basis, members)).exact.tolist()
        return out

    def logp(self, layer: int, basis: torch.Tensor, members: list[int]) -> torch.Tensor:
        """(m,) log-probability of the expected answers after the swaps."""
        return self.bases.answers(layer, members, self.hidden(layer, basis, members)).logp
