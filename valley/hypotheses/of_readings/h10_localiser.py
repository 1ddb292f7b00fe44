"""H10: the layer that a localiser names is a good layer to edit. Hase et al. 2023, "Does localization inform editing?",
find that it is not."""

from __future__ import annotations

from typing import cast

import numpy as np

from editing.lazy import pandas as pd
from valley.hypotheses._evidence import Evidence, Finding, Untestable
from valley.hypotheses.of_readings._readings import by_layer, means_of, over_sizes, rows_of

ID = "H10"
STATEMENT = "The layer that causal tracing names edits better than a layer drawn at random"
STATISTIC = (
    "fact edits: harmonic mean at the layer with the largest effect of restored maps at the subject's last token, less "
    "its mean over all layers tried"
)
TEST = "Student's t over sizes, seeds averaged, two-sided"
SIDED = True
MARGIN = 0.05


def test(evidence: Evidence) -> Finding:
    table = means_of(rows_of(evidence, "tracing", "mlp_effect"))
    table = table[table["position"] == "subject_last"]
    depth = table.groupby(["rung", "depth"])["value"].mean()
    named = {str(rung): float(cast(tuple[str, float], part.idxmax())[1]) for rung, part in depth.groupby(level="rung")}
    effects, gains = {}, []
    for rung, part in by_layer(evidence).groupby("rung"):
        if str(rung) not in named or part["depth"].nunique() < 2:
            continue
        shares = []
        for _, method in part.groupby("method"):
            # A reading's depth is the upper edge of its block, an edit's the middle.
            at = method["value"].to_numpy()[np.argmin(np.abs(method["depth"].to_numpy() - named[str(rung)]))]
            shares.append((at - method["value"].mean(), method["value"].max() - method["value"].mean()))
        effects[str(rung)] = float(np.mean([share for share, _ in shares]))
        gains.append(float(np.mean([best for _, best in shares])))
    if not effects:
        raise Untestable("no rung has both tracing and fact edits at several layers")
    note = f"the best layer gains {np.mean(gains):.3f} over the mean of all layers"
    return over_sizes(pd.Series(effects), note)
