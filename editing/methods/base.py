"""What every editing method is: frozen settings and a call from requests to a Delta that leaves the model as it was."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args, get_type_hints

from editing.delta.delta import Delta
from editing.errors import BadRequest
from editing.model.language_model import LanguageModel
from editing.model.sites import KINDS, Site
from editing.solve.value import OPTIMISERS, PRECISIONS
from editing.stats.statistics import ModelStatistics
from editing.text.requests import EditRequest, Lookup

CHOICES = {"precision": PRECISIONS, "optimiser": OPTIMISERS}


@dataclass(frozen=True)
class Placement:
    """Where a method edits a model for one request: site kind, lookup position, block indices, relative depth."""

    site: str
    lookup: str
    layers: tuple[int, ...]
    depth: float


@dataclass(frozen=True)
class Method(ABC):
    """Settings shared by locate-then-edit methods; subclasses are final and add their own.

    Attributes:
        site: "mlp", "value" or "attn".
        lookup: position of the key; None takes each request's own.
        depth: edited layer as a fraction of the layer count; None takes `default_depth` of the lookup.
        seed: of everything drawn.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    # Subject keys are enriched in the lower half; the state about to name something forms at two thirds.
    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.35, "last": 0.65}
    # Whether an edit needs the key covariance of the sites it changes.
    uses_covariance: ClassVar[bool] = True

    site: str = "mlp"
    lookup: str | None = None
    depth: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        def refuse(key: str, need: str) -> BadRequest:
            return BadRequest(f"method {self.name}: {key}={getattr(self, key)!r}; it must be {need}")

        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value, allowed = getattr(self, field.name), get_args(hints[field.name]) or (hints[field.name],)
            fits = isinstance(value, int) and not isinstance(value, bool) if float in allowed else False
            if type(value) not in allowed and not fits:
                raise refuse(field.name, " or ".join(getattr(a, "__name__", str(a)) for a in allowed))
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not value >= 0:
                raise refuse(field.name, "zero or more")
        if self.site not in KINDS:
            raise refuse("site", f"one of {', '.join(KINDS)}")
        if self.lookup is not None and self.lookup not in get_args(Lookup):
            raise refuse("lookup", f"one of {', '.join(get_args(Lookup))}")
        for key, choices in CHOICES.items():
            if getattr(self, key, choices[0]) not in choices:
                raise refuse(key, f"one of {', '.join(choices)}")
        if self.depth is not None and self.depth >= 1:
            raise refuse("depth", "a fraction of the layer count, below 1")

    def settings(self) -> dict[str, Any]:
        """All settings, JSON-serialisable."""
        return dataclasses.asdict(self)

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        """Which blocks this method edits for `request`.

        Raises:
            NoSite: the model has no such site.
        """
        lm.sites(self.site)
        lookup = self.lookup or request.lookup
        depth = self.depth if self.depth is not None else self.default_depth[lookup]
        layers = self._layers(lm.n_layers, depth)
        return Placement(self.site, lookup, layers, (layers[-1] + 0.5) / lm.n_layers)

    def _layers(self, n_layers: int, depth: float) -> tuple[int, ...]:
        """Blocks at `depth`; one by default."""
        return (min(n_layers - 1, int(depth * n_layers)),)

    def edited_sites(self, lm: LanguageModel, request: EditRequest) -> tuple[Site, ...]:
        """The sites changed for `request` whose covariance is needed; `ModelStatistics.prepare` takes them."""
        if not self.uses_covariance:
            return ()
        place = self.placement(lm, request)
        return tuple(lm.sites(place.site)[layer] for layer in place.layers)

    @abstractmethod
    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        """Independent single edits of the same unedited model, one Delta per request, computed together."""

    @abstractmethod
    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One Delta that carries out all requests."""

    def prepare(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> None:
        """Compute what edits of `requests` need of the unedited model, before any of them changes it."""
        return None

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
        """How a delta was made, as it is saved with it."""
        return {
            "method": self.name,
            "settings": self.settings(),
            "model": lm.name,
            "model_source": lm.source,
            "model_hash": lm.weight_hash,
            "requests": [dataclasses.asdict(r) for r in requests],
            "statistics": statistics.describe(),
        }
