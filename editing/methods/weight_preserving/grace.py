"""A codebook beside one map (GRACE; Hartvigsen et al. 2023, "Aging with GRACE", section 2 and algorithm 1).

Each entry has a key (the map's input at the lookup position), a value (an output that makes the model say the target)
and a radius epsilon. Where an input falls into the nearest key's ball, the output at that position is replaced by its
value. A new key that is far from all others (d > epsilon_i + epsilon_init) opens a new entry; one near an entry with
the same target widens that entry to reach it (epsilon_i = d); one near an entry with another target splits the ground:
both get d / 2.

The paper's key is a layer's input and its radius absolute; here the key is the input of the edited map and `radius` a
share of the key's length, so that one setting serves a ladder. Values are v0 + delta with delta from ROME's search
without KL term. The weights stay as they are: this is the memory baseline, exact where it fires and blind elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from editing.delta import Codebook, Delta
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.base import Method, setting
from editing.model import LanguageModel, Site
from editing.solve import Injection, ValueSettings, optimise_values, states
from editing.stats import ModelStatistics
from editing.text import Contexts, EditRequest, build_contexts


@dataclass(frozen=True)
class _Entry:
    """key (d_in,), value (d_out,), radius; label: the request's targets."""

    key: torch.Tensor
    value: torch.Tensor
    radius: float
    label: tuple[str, ...]


@dataclass(frozen=True)
class GRACE(ValueSettings, Method):
    """Settings of the codebook and of the search for its values."""

    name: ClassVar[str] = "grace"
    summary: ClassVar[str] = "a codebook of outputs beside one map, the weights untouched (Hartvigsen et al. 2023)"
    uses_covariance: ClassVar[bool] = False

    radius: float = setting(0.3, "radius of a new entry, epsilon_init", unit="||key||")
    steps: int = 25
    kl: float = 0.0
    weight_decay: float = 0.0
    clamp: float = 10.0

    @property
    def has_dose(self) -> bool:
        """No: an entry replaces outputs, it adds nothing to them."""
        return False

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        deltas = []
        for (site, entries, note), request in zip(self._entries(lm, requests), requests, strict=True):
            made = self.provenance(lm, [request], statistics) | {"optimiser": note}
            deltas.append(Delta({f"{site.path}.output": _codebook(_settled(entries))}, made))
        return deltas

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """All requests in order into one codebook per edited layer, by the splitting rule."""
        by_site: dict[str, list[_Entry]] = {}
        for site, entries, _ in self._entries(lm, requests):
            by_site.setdefault(f"{site.path}.output", []).extend(entries)
        factors = {name: _codebook(_settled(entries)) for name, entries in by_site.items()}
        return Delta(factors, self.provenance(lm, requests, statistics))

    def _entries(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[tuple[Site, list[_Entry], dict]]:
        """Per request its site and one entry per prompt, before any splitting."""
        by_request: dict[int, tuple[Site, list[_Entry], dict]] = {}
        for (layer,), members in self.by_layers(lm, requests).items():
            site = lm.sites(self.site)[layer]
            if site.rows is not None:
                raise BadRequest(
                    f"method grace: {site.path} holds queries and keys beside the values; use site mlp or attn"
                )
            contexts: list[Contexts] = [build_contexts(lm, requests[i], (), self.lookup) for i in members]
            places = [(site.path, "input"), (site.path, "output")]
            state = states(lm, [p for c in contexts for p in c.prompts], places)
            values = optimise_values(lm, contexts, Injection.at_site(site), self, seed=self.seed)
            begin = 0
            for i, context, value in zip(members, contexts, values, strict=True):
                rows = range(begin, begin := begin + len(context.prompts))
                keys, outputs = (state[place][rows.start : rows.stop] for place in places)
                entries = [
                    _Entry(k, v + value.delta, self.radius * float(k.norm()), requests[i].targets)
                    for k, v in zip(keys, outputs, strict=True)
                ]
                by_request[i] = (site, entries, value.note())
        return [by_request[i] for i in range(len(requests))]


def _settled(entries: Sequence[_Entry]) -> list[_Entry]:
    """The codebook after adding `entries` one by one (algorithm 1)."""
    book: list[_Entry] = []
    for new in entries:
        distances = [float((new.key - old.key).norm()) for old in book]
        near = min(range(len(book)), key=distances.__getitem__, default=None)
        if near is None or distances[near] > new.radius + book[near].radius:
            book.append(new)
        elif book[near].label == new.label:
            book[near] = replace(book[near], radius=max(book[near].radius, distances[near]))
        else:
            half = distances[near] / 2
            book[near] = replace(book[near], radius=half * (1 - 1e-5))  # the border itself belongs to the newer entry
            book.append(replace(new, radius=half))
    return book


def _codebook(entries: Sequence[_Entry]) -> Codebook:
    return Codebook(
        torch.stack([e.key for e in entries]),
        torch.stack([e.value for e in entries]),
        torch.tensor([e.radius for e in entries]),
    )
