"""What every reading is: frozen settings and a call from one model to rows, without changing a weight.

A row is one number: where it was read, about what, the measure, its control. `control` is `none` for the measurement;
every measure has at least one other control, read in the same places. `layer` is -1 for the embedding, l for the output
of block l, empty for what is not at one layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.readings.prompts import ReadingInput
from editing.errors import BadRequest
from editing.lazy import pandas as pd
from editing.solve import Settings, setting

COLUMNS = (
    "rung", "model", "model_hash", "reading", "layer", "depth", "position", "lang", "relation", "concept", "measure",
    "control", "value", "n",
)  # fmt: skip
NONE = "none"
Row = dict[str, Any]


@dataclass(frozen=True)
class Reading(Settings, ABC):
    """Subclasses are final, have a `name`, and add their settings.

    Attributes:
        summary: one line, a noun phrase. measures: measure -> what it is, its range, its source.
        world_only: whether it asks about the world's concepts whatever the facts are. version: raised when the same
            model gives other rows than before.
    """

    summary: ClassVar[str] = ""
    measures: ClassVar[dict[str, str]] = {}
    world_only: ClassVar[bool] = False
    version: ClassVar[int] = 2

    layers: int = setting(0, "largest number of layers read, evenly spaced; 0: all", unit="layers")
    seed: int = setting(0, "random seed of all draws")

    @abstractmethod
    def rows(self, source: ReadingInput) -> list[Row]:
        """The rows, made by `row`; one whose value is NaN says by its `n` how little there was to measure."""

    def __call__(self, source: ReadingInput) -> pd.DataFrame:
        """The table of COLUMNS, one row per number.

        Raises:
            UserError: as the model or the material has it.
        """
        lm = source.lm
        about = {"rung": lm.name, "model": lm.name, "model_hash": lm.weight_hash, "reading": self.name}
        table = pd.DataFrame([about | row for row in self.rows(source)], columns=list(COLUMNS))
        layer = table["layer"].astype("Int64")
        return table.assign(layer=layer, depth=(layer.astype("Float64") + 1) / lm.n_layers)

    def refuse(self, key: str, need: str) -> BadRequest:
        """The error that says what the setting `key` must be."""
        return BadRequest(f"reading {self.name}: {key}={getattr(self, key)!r}; it must be {need}")

    def chosen_layers(self, lowest: int, highest: int) -> list[int]:
        """At most `layers` layers from `lowest` to `highest`, evenly spaced, both ends among them."""
        every = list(range(lowest, highest + 1))
        if not self.layers or len(every) <= self.layers:
            return every
        if self.layers == 1:
            return [every[len(every) // 2]]
        return [every[round(i * (len(every) - 1) / (self.layers - 1))] for i in range(self.layers)]


def row(
    measure: str,
    value: float,
    *,
    layer: int | None = None,
    position: str = "",
    lang: str = "",
    relation: str = "",
    concept: str = "",
    control: str = NONE,
    n: int = 1,
) -> Row:
    """One row. `lang`: "fr", or "en-fr" for what was learned or read in English and evaluated in French. `n`: how many
    facts, pairs or entities the value is a mean of."""
    return {
        "layer": layer, "position": position, "lang": lang, "relation": relation, "concept": concept,
        "measure": measure, "control": control, "value": float(value), "n": int(n),
    }  # fmt: skip
