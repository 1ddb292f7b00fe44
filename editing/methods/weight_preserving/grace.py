"""A codebook beside one map (GRACE; Hartvigsen et al. 2023, "Aging with GRACE", section 2 and algorithm 1).

Each entry has a key (the map's input at the lookup position), a value (an output that makes the model say the target)
and a radius epsilon. Where an input falls into the nearest key's ball, the output at that position is replaced by its
value. How a new entry settles among the others is said in `editing/delta/codebook.py`.

The key is read at the prompt's last token, as in the paper's and EasyEdit's code, whatever the request's lookup, unless
`lookup` says otherwise. The paper's key is a layer's input and its radius absolute; here the key is the input of the
edited map and `radius` a share of the key's length, so that one setting serves a ladder (`units`): at .3 hardly any
other wording of a fact falls into the ball, at 1 other facts do. The map is a late one: in deep models the keys of an
earlier one are those of the prompt's last words more than of what it asks for (LOG.md, 2026-11-29 and 30). Values are
v0 + delta with delta from ROME's search without KL term. The weights stay as they are: this is the memory baseline,
exact where it fires and blind elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from editing.delta import Change, Codebook, Delta, add_changes, label_of, settled
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.base import Method, setting
from editing.model import LanguageModel, Site
from editing.solve import Injection, ValueSettings, optimise_values, states
from editing.stats import ModelStatistics
from editing.text import Contexts, EditRequest, Lookup, build_contexts


@dataclass(frozen=True)
class GRACE(ValueSettings, Method):
    """Settings of the codebook and of the search for its values."""

    name: ClassVar[str] = "grace"
    summary: ClassVar[str] = "a codebook of outputs beside one map, the weights untouched (Hartvigsen et al. 2023)"
    uses_covariance: ClassVar[bool] = False
    no_expert: ClassVar[str] = "its codebook stands beside a map that runs for every token"
    beside_weights: ClassVar[bool] = True

    published: ClassVar[Mapping[str, Any]] = {
        "lr": 1.0, "steps": 100, "weight_decay": 0.0, "radius": 1.0, "units": "absolute", "depth": 0.65
    }  # fmt: skip
    before_presets: ClassVar[Mapping[str, Any]] = {
        "lr": 0.5, "steps": 25, "radius": 0.3, "units": "relative", "lookup": None
    }  # fmt: skip

    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.9, "last": 0.9}

    lookup: str | None = setting("last", "key's token; null: as requested", choices=get_args(Lookup))
    radius: float = setting(0.8, "radius of a new entry, epsilon_init", unit="||key||")
    units: str = setting("relative", "scale of the radius", choices=("relative", "absolute"))
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
        for (site, book, note), request in zip(self._books(lm, requests), requests, strict=True):
            made = self.provenance(lm, [request], statistics) | {"optimiser": note}
            deltas.append(Delta({f"{site.path}.output": settled(book)}, made))
        return deltas

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """All requests in order into one codebook per edited layer, by the splitting rule."""
        factors: dict[str, Change] = {}
        for site, book, _ in self._books(lm, requests):
            name = f"{site.path}.output"
            factors[name] = add_changes(factors[name], book) if name in factors else settled(book)
        return Delta(factors, self.provenance(lm, requests, statistics))

    def _books(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[tuple[Site, Codebook, dict]]:
        """Per request its site and a book with one entry per prompt, before any splitting."""
        by_request: dict[int, tuple[Site, Codebook, dict]] = {}
        for (layer,), members in self.by_layers(lm, requests).items():
            site = lm.site(self.site, layer)
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
                radius = self._radii(keys)
                labels = torch.full((len(keys),), label_of(requests[i].targets))
                by_request[i] = (site, Codebook(keys, outputs + value.delta, radius, labels), value.note())
        return [by_request[i] for i in range(len(requests))]

    def _radii(self, keys: torch.Tensor) -> torch.Tensor:
        """(n,) radius of an entry at each of `keys` (n, d_in)."""
        if self.units == "absolute":
            return torch.full((len(keys),), self.radius)
        return torch.tensor([self.radius * float(key.norm()) for key in keys])
