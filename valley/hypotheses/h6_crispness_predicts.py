"""H6: within one model, concepts whose two names are one thing (crisp) are those that edit well."""

from __future__ import annotations

from valley.hypotheses._crisp import by_concept, with_concepts
from valley.hypotheses._evidence import Evidence, Finding, association

ID = "H6"
STATEMENT = "Crispness predicts editability across concepts within a model"
STATISTIC = (
    "Spearman correlation of C_key, at the layer where its mean over concepts is highest, with the score of an edit"
)
TEST = "permutation of concepts within types, the same at every model, two-sided"
SIDED = True
MARGIN = 0.2


def test(evidence: Evidence) -> Finding:
    crisp = by_concept(evidence, "C_key")
    pairs = with_concepts(evidence, crisp).rename(columns={"value": "a", "score": "b"})
    return association(pairs, evidence.plan, note="edits by methods that write at a key, mean per concept")
