"""Control for localisation: the best edit of the same method, with its real key, at a layer drawn at random.

"Location matters" only if the chosen layer beats this control. Everything but the layer is as in the edit beside it:
method, key, optimiser, and in a search the same cases and rounds over the other settings. (`random_site` also replaces
the key by noise, so that it fails by construction; Hase et al. 2023, "Does Localization Inform Editing?", section 4,
compare layers by real edits.)

The layer is drawn once for a set of cases, uniformly from all layers of the model, so that the other settings can be
chosen at it on development cases. It stands in the column `depth` of the rows and in the delta's provenance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.delta import Delta
from editing.methods.base import Method, Placement, setting
from editing.methods.controls.wrapped import Wrapped
from editing.model import LanguageModel
from editing.seeds import seed_for
from editing.stats import ModelStatistics
from editing.text import EditRequest


@dataclass(frozen=True)
class RandomLayer(Wrapped):
    """`depth` is not used: `seed` and `draw` decide the layer."""

    name: ClassVar[str] = "random_layer"
    summary: ClassVar[str] = "control: the same method with its real key at a layer drawn at random"

    draw: str = setting("", "name of the set of cases that share one draw; a sweep fills it in")

    def layer(self, lm: LanguageModel) -> int:
        """The drawn block of this model, among those that have the inner method's site."""
        layers = lm.layers_with(self.method().site) or range(lm.n_layers)
        return layers[seed_for(self.seed, f"random layer {self.draw}") % len(layers)]

    def _drawn(self, lm: LanguageModel) -> dict[str, int]:
        """The draw in a delta's provenance; none where the inner method edits no block: its edit is the same."""
        return {"layer": self.layer(lm)} if "depth" in self.method().placed_by else {}

    def made_by(self, lm: LanguageModel) -> Method:
        """The inner method at the drawn block."""
        return self.method(depth=(self.layer(lm) + 0.5) / lm.n_layers)

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        return self.made_by(lm).placement(lm, request)

    def edited_sites(self, lm: LanguageModel, request: EditRequest):
        return self.made_by(lm).edited_sites(lm, request)

    def prepare(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> None:
        self.made_by(lm).prepare(lm, requests, statistics)

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        made = self.made_by(lm).each(lm, requests, statistics)
        return [
            self.signed(lm, delta, [request], statistics, **self._drawn(lm))
            for request, delta in zip(requests, made, strict=True)
        ]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        made = self.made_by(lm)(lm, requests, statistics)
        return self.signed(lm, made, requests, statistics, **self._drawn(lm))

    def step(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> tuple[Delta, Any]:
        delta, memory = self.made_by(lm).step(lm, requests, statistics, memory)
        return self.signed(lm, delta, requests, statistics, **self._drawn(lm)), memory
