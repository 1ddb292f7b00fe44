"""H12: overlap of directions, hence superposition, explains how specific edits are across scale. Liu et al. 2025,
"Superposition yields robust neural scaling", find losses to fall with width to the power of .91 +- .04."""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy.stats import t

from editing.lazy import pandas as pd
from valley.hypotheses._evidence import LOCATED, Evidence, Finding, Untestable
from valley.hypotheses.of_readings._readings import fitted_slope, line_over_sizes, means_of, rows_of
from valley.statistics import size_of

ID = "H12"
STATEMENT = "The less the keys of entities overlap, the more specific edits are, across sizes"
STATISTIC = (
    "change of specificity along minus log overlap of whitened keys (mean over layers), from the size with the largest "
    "overlap to that with the smallest"
)
TEST = "straight line through the sizes, seeds averaged, Student's t with n-2 degrees of freedom, two-sided"
SIDED = True
MARGIN = 0.05


def test(evidence: Evidence) -> Finding:
    overlap = cast(pd.Series, np.log(_by_rung(evidence, "key_overlap_whitened")))
    lines = evidence.curves("specificity")
    lines = lines[lines["method"].isin(LOCATED)]
    if lines.empty:
        raise Untestable("no line of specificity with enough cases by a method that writes at a key")
    return line_over_sizes(-overlap, lines.groupby("rung")["value"].mean(), _exponent(evidence))


def _by_rung(evidence: Evidence, measure: str, control: str = "none") -> pd.Series:
    """Mean over layers, by rung."""
    return means_of(rows_of(evidence, "interference", measure, control=control)).groupby("rung")["value"].mean()


def _exponent(evidence: Evidence) -> str:
    """How the overlap of unembeddings falls with width, in words."""
    measured, theory = (_by_rung(evidence, "unembedding_overlap", control) for control in ("none", "theory"))
    table = pd.DataFrame({"y": -np.log(measured), "x": -np.log(theory)}).dropna()
    table = table.groupby([size_of(str(rung)) for rung in table.index]).mean()
    widths = table["x"].round(9).nunique()
    if widths < 3:
        return f"unembeddings: {widths} widths, at least 3 needed for an exponent"
    slope, se = fitted_slope(table["x"].to_numpy(), table["y"].to_numpy())
    half = float(t.ppf(0.975, max(len(table) - 2, 1))) * se
    return f"overlap of unembeddings falls with width to the power of {slope:.2f} +- {half:.2f} (theory 1)"
