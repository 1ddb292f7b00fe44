"""H8: renaming a concept and changing a fact about one are not equally easy."""

from __future__ import annotations

import numpy as np

from valley.hypotheses._evidence import Evidence, Finding, Untestable, estimate, scarcest
from valley.rows import IN_LANGUAGE, KEPT
from valley.scores import SCORES
from valley.statistics import redraw

ID = "H8"
STATEMENT = "Rename edits and fact edits differ in how well they work"
STATISTIC = "score of rename edits less that of fact edits, by the same methods on the same models"
TEST = "hierarchical bootstrap over sizes, seeds, relations and cases, t by the scarcest of them, two-sided"
SIDED = False
MARGIN = 0.05


def unlike(evidence: Evidence) -> list[str]:
    """Probe kinds that only one of the two edit kinds was measured on: with those, two rulers would be compared."""
    edits = evidence.edits
    kinds = [k for k in (*IN_LANGUAGE, *KEPT) if k in edits]
    measured = edits.groupby("edit_kind")[kinds].count()
    kinds_of = [{kind for kind in kinds if measured.loc[edit, kind]} for edit in ("rename", "fact")]
    return [kind for kind in kinds if kind in kinds_of[0] ^ kinds_of[1]]


def test(evidence: Evidence) -> Finding:
    table, j = evidence.curves("score"), SCORES.index("score")
    scored, effects, drawn, used = evidence.scored, [], [], []
    for _, size in table.groupby(["ladder", "size"], sort=False):
        differences, samples = [], []
        for _, model in size.groupby("rung", sort=False):
            kinds = [model[model["edit_kind"] == kind].set_index("method") for kind in ("rename", "fact")]
            shared = kinds[0].index.intersection(kinds[1].index)
            if len(shared):
                one, two = (
                    model.index[model["edit_kind"].eq(k) & model["method"].isin(shared)] for k in ("rename", "fact")
                )
                used += [*one, *two]
                differences.append(scored.values[one, j].mean() - scored.values[two, j].mean())
                samples.append(scored.samples[one, :, j].mean(axis=0) - scored.samples[two, :, j].mean(axis=0))
        if differences:
            effects.append(np.mean(differences))
            drawn.append(np.stack(samples))
    if not effects:
        raise Untestable("no model has rename and fact edits by the same method with enough cases")
    if kinds := unlike(evidence):
        raise Untestable(f"not comparable: only one of rename and fact edits was measured on {', '.join(kinds)}")
    return estimate(float(np.mean(effects)), redraw(drawn, evidence.plan.seed), *scarcest(evidence, table.loc[used]))
