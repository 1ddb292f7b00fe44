"""H9: the share of an edit that another input receives, read off the keys beforehand, predicts where the edit will
spread."""

from __future__ import annotations

from valley.hypotheses._crisp import by_concept, with_concepts
from valley.hypotheses._evidence import Evidence, Finding, association, weakest

ID = "H9"
STATEMENT = "The leak ratio predicts specificity and cross-lingual transfer before the edit is made"
STATISTIC = (
    "the lesser of two Spearman correlations: leak to the translation with transfer, minus leak to "
    "siblings with specificity"
)
TEST = "permutation of concepts within types, the same at every model, two-sided; both must pass"
SIDED = True
MARGIN = 0.2


def test(evidence: Evidence) -> Finding:
    findings = {}
    for name, measure, score, sign in (
        ("transfer", "leak_translation", "cross_lingual", 1.0),
        ("specificity", "leak_siblings", "neighbour", -1.0),
    ):
        pairs = with_concepts(evidence, by_concept(evidence, measure)).rename(columns={"value": "a", score: "b"})
        findings[name] = association(pairs, evidence.plan, sign)
    return weakest(findings)
