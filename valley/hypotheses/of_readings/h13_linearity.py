"""H13: facts of a relation that one affine map answers are facts that can be edited."""

from __future__ import annotations

from valley.hypotheses._evidence import Evidence, Finding, association
from valley.hypotheses.of_readings._readings import at_best_layer, by_relation, rows_of

ID = "H13"
STATEMENT = "Linearity of a relation predicts how well its facts can be edited"
STATISTIC = (
    "rank correlation across relations within a model of the faithfulness of the affine map, at the layer where its "
    "mean is highest, with the score of fact edits"
)
TEST = "permutation of relations, the same at every model, two-sided"
SIDED = True
MARGIN = 0.3


def test(evidence: Evidence) -> Finding:
    table = at_best_layer(rows_of(evidence, "linearity", "faithfulness"))
    pairs = by_relation(evidence, table, "score")
    return association(pairs, evidence.plan, note="units are relations, so power is low")
