"""Crispness tables beside edits: one number per model and concept, matched to the edits of that concept."""

from __future__ import annotations

from editing.lazy import pandas as pd
from valley.hypotheses._evidence import Evidence, Untestable, best_layers
from valley.statistics import size_of


def by_concept(evidence: Evidence, measure: str) -> pd.DataFrame:
    """rung, concept, group (its type), value of `measure` (no control, mean over both directions), at the layer of each
    rung where its mean over
    concepts is highest: one layer for all concepts, so that none is flattered.

    Raises:
        Untestable: no crispness table, or none with this measure.
    """
    if evidence.crispness is None:
        raise Untestable(
            "needs a crispness table: `ladder crispness NAME --concepts all --out FOLDER`, then --crispness"
        )
    table = evidence.crispness
    table = table[(table["measure"] == measure) & (table["control"] == "none") & (table["direction"] == "both")]
    table = table.dropna(subset=["value"])
    if table.empty:
        raise Untestable(f"the crispness table has no values of {measure}")
    return table.merge(best_layers(table), on=["rung", "layer"])[["rung", "concept", "group", "value"]]


def with_concepts(evidence: Evidence, crisp: pd.DataFrame) -> pd.DataFrame:
    """rung, size, case and subject (the concept), cluster (its type), value, and the concept's mean scores over kinds
    and methods that write at a key.

    Raises:
        Untestable: no edit by such a method, or none whose subject is a concept of the table at the same rung.
    """
    edits = evidence.located.assign(concept=lambda part: part["subject"].str.lower())
    means = edits.groupby(["rung", "concept"])[["score", "cross_lingual", "neighbour"]].mean()
    pairs = crisp.assign(concept=crisp["concept"].str.lower()).merge(means.reset_index(), on=["rung", "concept"])
    if pairs.empty:
        raise Untestable("no edited subject is a concept of the crispness table at the same rung")
    pairs = pairs.assign(size=pairs["rung"].map(size_of), subject=pairs["concept"])
    return pairs.rename(columns={"concept": "case", "group": "cluster"})
