"""Readings beside edits: values per rung, concept or relation, matched to the scores of edits at the same rung."""

from __future__ import annotations

import numpy as np
from scipy.stats import t

from editing.lazy import pandas as pd
from valley.hypotheses._evidence import LOCATED, Evidence, Finding, Untestable, best_layers, by_student
from valley.rows import RUNG
from valley.statistics import harmonic, size_of

NONE = "none"


def rows_of(evidence: Evidence, reading: str, measure: str, lang: str = "en", control: str = NONE) -> pd.DataFrame:
    """The rows of one measure that have a value, in one language and control.

    Raises:
        Untestable: no readings table, or none of these rows in it.
    """
    if evidence.readings is None:
        raise Untestable("needs readings: `valley read NAME --out RUN`, then --readings or RUN/readings.csv")
    table = evidence.readings
    table = table[(table["reading"] == reading) & (table["measure"] == measure) & (table["control"] == control)]
    table = table[table["lang"].isin((lang, ""))].dropna(subset=["value"])
    if table.empty:
        raise Untestable(f"the readings table has no {measure} of the reading {reading} in {lang}")
    return table


def means_of(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are means over concepts."""
    return table[table["concept"] == ""]


def at_best_layer(table: pd.DataFrame, chosen_by: pd.DataFrame | None = None) -> pd.DataFrame:
    """The rows at the layer of each rung where the mean of the means is highest: one layer for all, so that no concept
    or relation is flattered.

    Args:
        chosen_by: the rows that choose the layer, where they are others: isolation is highest where nothing is read.
    """
    layers = best_layers(means_of(table if chosen_by is None else chosen_by))
    return table.merge(layers, on=["rung", "layer"])


def by_concept(evidence: Evidence, table: pd.DataFrame, score: str) -> pd.DataFrame:
    """rung, size, case and subject (the concept), cluster, a (mean reading over relations), b (mean score of edits).

    Raises:
        Untestable: no edited subject is a concept of the readings at the same rung.
    """
    read = table[table["concept"] != ""].assign(concept=lambda part: part["concept"].str.lower())
    a = read.groupby(["rung", "concept"])["value"].mean().rename("a").reset_index()
    edits = evidence.located.assign(concept=lambda part: part["subject"].str.lower())
    b = edits.groupby(["rung", "concept"])[score].mean().rename("b").reset_index()
    pairs = a.merge(b, on=["rung", "concept"])
    if pairs.empty:
        raise Untestable("no edited subject is a concept of the readings table at the same rung")
    if pairs["b"].isna().all():
        raise Untestable(f"no edit of these concepts has a score {score}")
    return pairs.assign(size=pairs["rung"].map(size_of), case=pairs["concept"], subject=pairs["concept"], cluster="")


def by_relation(evidence: Evidence, table: pd.DataFrame, score: str) -> pd.DataFrame:
    """The same with relations as units: rung, size, case and subject (the relation), cluster, a, b.

    Raises:
        Untestable: no edited relation is in the readings at the same rung.
    """
    a = means_of(table).groupby(["rung", "relation"])["value"].mean().rename("a").reset_index()
    edits = evidence.located
    edits = edits[edits["edit_kind"] == "fact"].rename(columns={"cluster": "relation_name"})
    b = edits.groupby(["rung", "relation_name"])[score].mean().rename("b").reset_index()
    pairs = a.merge(b, left_on=["rung", "relation"], right_on=["rung", "relation_name"])
    if pairs.empty:
        raise Untestable("no relation of the edited facts is in the readings table at the same rung")
    return pairs.assign(size=pairs["rung"].map(size_of), case=pairs["relation"], subject=pairs["relation"], cluster="")


def by_layer(evidence: Evidence, kind: str = "fact") -> pd.DataFrame:
    """rung, method, layer, value (mean harmonic mean of the cases) and n of every layer at which edits of a kind were
    tried; development cases, where the search tried every layer, together with the test ones.

    Raises:
        Untestable: no model tried more than one layer.
    """
    scores = evidence.scored.scores
    scores = scores[(scores["edit_kind"] == kind) & scores["method"].isin(LOCATED) & scores["known"]]
    scores = scores.dropna(subset=["depth", "generalisation", "specificity"])
    value = harmonic(scores["generalisation"].to_numpy(), scores["specificity"].to_numpy())
    table = scores.assign(value=value).groupby([*RUNG, "method", "depth"])["value"].agg(["mean", "count"])
    table = table.reset_index().rename(columns={"mean": "value", "count": "n"})
    if table.empty or table.groupby("rung")["depth"].nunique().max() < 2:
        raise Untestable(
            f"no model tried {kind} edits at more than one layer; run bench with --set depth=... or a search"
        )
    return table


def over_sizes(values: pd.Series, note: str) -> Finding:
    """Mean over sizes of the mean over the rungs (seeds) of each, Student's t over sizes.

    Args:
        values: by rung.

    Raises:
        Untestable: fewer than two sizes, or no spread.
    """
    sizes = values.groupby([size_of(str(rung)) for rung in values.index]).mean()
    n, effect = len(sizes), float(sizes.mean())
    if n < 2:
        raise Untestable(f"{n} size with both readings and edits, at least 2 needed")
    se = float(sizes.std(ddof=1)) / np.sqrt(n)
    if not se > 1e-12:
        raise Untestable(f"the statistic is {effect:.3f} at every size, so it has no measurable spread")
    return by_student(effect, se, n - 1, n, "sizes", note)


def line_over_sizes(x: pd.Series, y: pd.Series, note: str) -> Finding:
    """Change of y from the smallest to the largest x by a straight line through the sizes (means over their seeds),
    Student's t with n-2 degrees of freedom.

    Args:
        x, y: by rung.

    Raises:
        Untestable: fewer than four sizes that have both, or x is the same at all.
    """
    both = pd.DataFrame({"x": x, "y": y}).dropna()
    sizes = both.groupby([size_of(str(rung)) for rung in both.index]).mean()
    n = len(sizes)
    if n < 4 or np.ptp(sizes["x"]) < 1e-12:
        raise Untestable(f"{n} sizes with both readings and edits that differ, at least 4 needed for a line")
    slope, se = fitted_slope(sizes["x"].to_numpy(), sizes["y"].to_numpy())
    width = float(np.ptp(sizes["x"]))
    effect, half = slope * width, float(t.ppf(0.975, n - 2)) * se * width
    p = float(2 * t.sf(abs(slope) / se, n - 2)) if se > 0 else 0.0
    return Finding(effect, effect - half, effect + half, p, n, "sizes", note)


def fitted_slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of y on x by least squares, and its standard error."""
    basis = np.column_stack([np.ones(len(x)), x])
    inverse = np.linalg.inv(basis.T @ basis)
    beta = inverse @ basis.T @ y
    rest = ((y - basis @ beta) ** 2).sum() / max(len(x) - 2, 1)
    return float(beta[1]), float(np.sqrt(rest * inverse[1, 1]))
