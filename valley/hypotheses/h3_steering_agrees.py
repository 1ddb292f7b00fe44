"""H3: what activation steering can move, a weight edit can move: the two agree fact by fact."""

from __future__ import annotations

from valley.hypotheses._evidence import LOCATED, Evidence, Finding, Untestable, association, unit_names

ID = "H3"
STATEMENT = "Steering and weight edits agree fact by fact"
STATISTIC = "Spearman correlation of the scores of steering and of a weight edit across cases, within a model"
TEST = "permutation of subjects within relations, the same at every model, two-sided"
SIDED = True
MARGIN = 0.2
STEERING = "steer"


def test(evidence: Evidence) -> Finding:
    table = evidence.edits
    there = set(table["method"])
    method = next((name for name in LOCATED if name in there), None)  # the first that was run
    if STEERING not in there or method is None:
        raise Untestable(
            f"needs edits by steer and by one of {', '.join(LOCATED)}; with enough cases there is "
            f"{', '.join(sorted(there))}"
        )
    table = table.assign(case=unit_names(table))
    keys = ["rung", "size", "case", "subject", "cluster"]
    one, two = (table.loc[table["method"] == m, [*keys, "score"]] for m in (STEERING, method))
    pairs = one.merge(two, on=keys).rename(columns={"score_x": "a", "score_y": "b"})
    return association(pairs, evidence.plan, note=f"steer and {method}")
