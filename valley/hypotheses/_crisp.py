"""Crispness tables beside edits: one number per model and concept, matched to the edits of that concept."""

from __future__ import annotations

import pandas as pd

from valley.hypotheses._evidence import Evidence, Untestable
from valley.shapes.variance import size_of


def by_concept(evidence: Evidence, measure: str) -> pd.DataFrame:
    """rung, concept, value of `measure` (no control, mean over both directions), at the layer of each rung where its mean over
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
    means = table.groupby(["rung", "layer"])["value"].mean()
    best = pd.DataFrame(list(means.groupby(level="rung").idxmax()), columns=["rung", "layer"])
    return table.merge(best, on=["rung", "layer"])[["rung", "concept", "value"]]


def with_concepts(evidence: Evidence, crisp: pd.DataFrame) -> pd.DataFrame:
    """rung, size, case (the concept), cluster (its type), value, and the concept's mean scores over kinds and methods.

    Raises:
        Untestable: no edit's subject is a concept of the table at the same rung.
    """
    edits = evidence.edits
    edits = edits.assign(concept=edits["subject"].str.lower())
    scores = ["harmonic_mean", "cross_lingual", "neighbour"]
    means = edits.groupby(["rung", "concept"])[scores].mean()
    means["cluster"] = (
        edits.groupby("concept")["cluster"].first().reindex(means.index.get_level_values("concept")).to_numpy()
    )
    pairs = crisp.assign(concept=crisp["concept"].str.lower()).merge(means.reset_index(), on=["rung", "concept"])
    if pairs.empty:
        raise Untestable("no edited subject is a concept of the crispness table at the same rung")
    return pairs.assign(size=pairs["rung"].map(size_of)).rename(columns={"concept": "case"})
