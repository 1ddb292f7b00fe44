"""What every editing method is: frozen settings and a call from requests to a Delta that leaves the model as it was."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from editing.delta import Delta, compose
from editing.errors import BadRequest
from editing.model import EXPERT, KINDS, LanguageModel, Site
from editing.solve import Settings, setting
from editing.stats import ModelStatistics
from editing.text import Contexts, EditRequest, Lookup, build_contexts


def block_at(depth: float, n_layers: int) -> int:
    """The block at `depth` (0 to 1) of `n_layers`. `i / n_layers` is block i, though the product may round to less."""
    return min(n_layers - 1, int(depth * n_layers + 1e-9))


@dataclass(frozen=True)
class Placement:
    """Where a method edits a model for one request: site kind, lookup position, block indices, relative depth."""

    site: str
    lookup: str
    layers: tuple[int, ...]
    depth: float


@dataclass(frozen=True)
class Method(Settings, ABC):
    """The settings that every method has; subclasses are final and add their own."""

    summary: ClassVar[str] = ""
    # Subject keys are enriched in the lower half; the state about to name something forms at two thirds.
    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.35, "last": 0.65}
    # Whether edits live in a memory beside the weights: each of a sequence is then computed on the unedited model, or
    # the memory would hide the output that the new edit is searched for.
    beside_weights: ClassVar[bool] = False
    # Whether an edit needs the key covariance of the sites it changes.
    uses_covariance: ClassVar[bool] = True
    # Why it cannot change a routed expert, where the user chooses that site; "" where it can.
    no_expert: ClassVar[str] = "it changes no map of one block"

    site: str = setting("mlp", "kind of map that is edited", choices=(*KINDS, EXPERT))
    lookup: str | None = setting(None, "key's token; unset: as requested", choices=get_args(Lookup))
    depth: float | None = setting(None, "last edited block; unset: the default of the lookup", unit="of blocks")
    seed: int = setting(0, "random seed of all draws")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth is not None and self.depth >= 1:
            raise self.refuse("depth", "a fraction of the layer count, below 1")
        if self.site == EXPERT and self.no_expert:
            raise BadRequest(
                f"method {self.name}: site={EXPERT!r}; {self.no_expert}; use a locate-then-edit method (rome, memit) "
                f"for experts, or one of {', '.join(KINDS)} here"
            )

    @property
    def placed_by(self) -> tuple[str, ...]:
        """The settings on which the place of its edits depends; a search tries every value of these."""
        return ("site", "lookup", "depth")

    @property
    def has_dose(self) -> bool:
        """Whether multiples of its edits are edits too (`Delta.scaled`); others are measured at dose 1 only."""
        return True

    def settings(self) -> dict[str, Any]:
        """All settings, JSON-serialisable."""
        return dataclasses.asdict(self)

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        """Which blocks this method edits for `request`.

        Raises:
            NoSite: the model has no such site.
        """
        lookup = self.lookup or request.lookup
        depth = self.depth if self.depth is not None else self.default_depth[lookup]
        layers = self._layers(lm.n_layers, depth)
        for layer in layers:
            if self.site == EXPERT:
                lm.expert_sites(layer)
            else:
                lm.site(self.site, layer)
        return Placement(self.site, lookup, layers, (layers[-1] + 0.5) / lm.n_layers)

    def placement_of(self, lm: LanguageModel, request: EditRequest, delta: Delta) -> Placement:
        """Where `delta`, this method's edit of `request`, was really made."""
        return self.placement(lm, request)

    def _layers(self, n_layers: int, depth: float) -> tuple[int, ...]:
        """Blocks at `depth`; one by default."""
        return (block_at(depth, n_layers),)

    def edited_sites(self, lm: LanguageModel, request: EditRequest) -> tuple[Site, ...]:
        """The sites changed for `request` whose covariance is needed; `ModelStatistics.prepare` takes them."""
        if not self.uses_covariance:
            return ()
        place = self.placement(lm, request)
        return tuple(lm.site(place.site, layer) for layer in place.layers)

    def by_layers(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> dict[tuple[int, ...], list[int]]:
        """Indices of `requests` by the blocks that are edited for them."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(self.placement(lm, request).layers, []).append(i)
        return groups

    def refuse_several_places(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> None:
        """For methods that carry out all requests of a batch in one solve.

        Raises:
            BadRequest: no requests, or requests that are edited in different blocks.
        """
        places = len(self.by_layers(lm, requests))
        if not places:
            raise BadRequest(f"method {self.name}: no request in the batch; give at least one")
        if places > 1:
            raise BadRequest(
                f"method {self.name}: one batch mixes lookup positions at different depths; set `lookup` or `depth`"
            )

    @abstractmethod
    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        """Independent single edits of the same unedited model, one Delta per request, computed together."""

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One Delta that carries out all requests; by default the sum of the single edits."""
        whole = compose(self.each(lm, requests, statistics))
        return Delta(whole.factors, self.provenance(lm, requests, statistics))

    def prepare(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> None:
        """Compute what edits of `requests` need of the unedited model, before any of them changes it."""
        statistics.prepare(dict.fromkeys(s for r in requests for s in self.edited_sites(lm, r)))

    def step(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> tuple[Delta, Any]:
        """One step of a sequence of edits, on a model that carries the earlier ones: the change, and the new memory.

        `memory` is what the step before returned, None at the start; most methods remember nothing.
        """
        return self(lm, requests, statistics), memory

    def provenance(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics
    ) -> dict[str, Any]:
        """How a delta was made, as it is saved with it.

        Raises:
            BadRequest: statistics of another model.
        """
        statistics.refuse_other(lm)
        return {
            "method": self.name,
            "settings": self.settings(),
            "model": lm.name,
            "model_source": lm.source,
            "model_hash": lm.weight_hash,
            "requests": [dataclasses.asdict(r) for r in requests],
            "statistics": statistics.describe(),
        }


@dataclass(frozen=True)
class Prefixed(Method):
    """A method that reads every prompt also behind texts drawn from the model."""

    prefixes: int = setting(5, "drawn contexts of about 10 tokens beside the bare prompt", unit="contexts")

    def contexts(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics
    ) -> list[Contexts]:
        """The prompts of each request, bare and behind the prefixes."""
        prefixes = statistics.prefixes({10: self.prefixes})
        return [build_contexts(lm, r, prefixes, self.lookup) for r in requests]


@dataclass(frozen=True)
class Spanning(Prefixed):
    """A method that edits a run of blocks ending at `depth`."""

    span: float = setting(0.17, "number of edited blocks, at least one", unit="of blocks")

    def _layers(self, n_layers: int, depth: float) -> tuple[int, ...]:
        (last,) = super()._layers(n_layers, depth)
        return tuple(range(max(0, last + 1 - max(1, round(self.span * n_layers))), last + 1))
