"""H11: swapping a learned subspace and editing a weight say the same of a concept: isolation is the reading's
specificity, cause its generalisation (RAVEL's two axes)."""

from __future__ import annotations

from valley.hypotheses._evidence import Evidence, Finding, association, weakest
from valley.hypotheses.of_readings._readings import at_best_layer, by_concept, rows_of

ID = "H11"
STATEMENT = "Isolation of a concept's subspace tracks the specificity of its edits, and cause their generalisation"
STATISTIC = (
    "the lesser of two rank correlations across concepts within a model: isolation with specificity, cause with "
    "generalisation, both at the layer where mean cause is highest"
)
TEST = "permutation of concepts, the same at every model, two-sided; both must pass"
SIDED = True
MARGIN = 0.2


def test(evidence: Evidence) -> Finding:
    findings, causes = {}, rows_of(evidence, "interchange", "cause")
    for measure, score in (("isolation", "specificity"), ("cause", "generalisation")):
        table = at_best_layer(rows_of(evidence, "interchange", measure), causes)
        findings[measure] = association(by_concept(evidence, table, score), evidence.plan)
    return weakest(findings)
