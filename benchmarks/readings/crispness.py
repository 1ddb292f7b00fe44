"""Crispness as a reading: how far the English and the French name of a thing are one concept, see benchmarks/crispness.

The rows of single concepts have the measurement alone; means over concepts have every control.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from benchmarks.crispness import MEASURES, Setup, concept_names, crispness
from benchmarks.readings.base import Reading, Row, row
from benchmarks.readings.prompts import ReadingInput
from editing.solve import setting

SHOWN = (*MEASURES, "align_rank", "patch_nats", "leak_translation", "leak_siblings")


@dataclass(frozen=True)
class Crispness(Reading):
    """The pairs of names of the concept suite; nothing of a grown rung whose world has none of these concepts."""

    name: ClassVar[str] = "crispness"
    summary: ClassVar[str] = "how far the two names of a concept are one thing"
    measures: ClassVar[dict[str, str]] = {
        "C_key": "leak to the translation minus the mean leak to its siblings",
        "C_align": "the two names' states are mutual nearest neighbours, corrected for chance",
        "C_patch": "P(name) with the concept's state patched in, minus that with a random concept's state",
        "C_dir": "cosine of the English and the French edit vector of one fact",
        "align_rank": "how near the translation ranks among all names: 1 nearest, 0 chance",
        "patch_nats": "C_patch in mean log-probabilities, nats",
        "leak_translation": "share of an edit at the name that its translation receives",
        "leak_siblings": "share that other names of its type in the other language receive",
    }

    world_only: ClassVar[bool] = True

    layers: int = 8
    site: str = setting("mlp", "kind of map whose keys are read", choices=("mlp", "value", "attn"))
    concepts: int = setting(24, "largest number of concepts that are reported", unit="concepts", least=1)

    def rows(self, source: ReadingInput) -> list[Row]:
        names = concept_names(self.concepts)
        taught = {entity for entity, _ in source.material.exposure}
        if source.material.name == "world" and taught and not taught & set(names):
            return []  # the training text names no concept, so there is nothing to read
        there = source.lm.layers_with(self.site)
        layers = tuple(there[i] for i in self.chosen_layers(0, len(there) - 1))
        setup = Setup(site=self.site, corpus=source.statistics.corpus, seed=self.seed, layers=layers)
        table = crispness(source.lm, names, setup, statistics=source.statistics)
        table = table[table["measure"].isin(SHOWN) & (table["direction"] == "both")]
        out = []
        for record in table[table["control"] == "none"].to_dict("records"):
            about = {"layer": record["layer"], "position": "subject_last", "lang": "en-fr"}
            out.append(row(record["measure"], record["value"], concept=record["concept"], **about))
        means = table.groupby(["measure", "layer", "control"])["value"].agg(["mean", "count"])
        for key, (mean, count) in means.iterrows():
            measure, layer, control = cast("tuple[str, int, str]", key)
            about = {"layer": layer, "position": "subject_last", "lang": "en-fr", "control": control}
            out.append(row(measure, mean, n=count, **about))
        return out
