"""H14: a state that means the same in the other language says beforehand how far an edit carries over."""

from __future__ import annotations

from valley.hypotheses._evidence import Evidence, Finding, association
from valley.hypotheses.of_readings._readings import at_best_layer, by_concept, rows_of
from valley.rows import NET

ID = "H14"
STATEMENT = "Interchange across languages predicts the cross-lingual transfer of edits"
STATISTIC = (
    "rank correlation across concepts within a model of cause, the whole state swapped from an English into a French "
    "prompt, with transfer net of siblings"
)
TEST = "permutation of concepts, the same at every model, two-sided"
SIDED = True
MARGIN = 0.2


def test(evidence: Evidence) -> Finding:
    table = at_best_layer(rows_of(evidence, "interchange", "cause", "en-fr", "full"))
    return association(by_concept(evidence, table, NET), evidence.plan)
