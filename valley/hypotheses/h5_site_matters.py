"""H5: editing at the chosen layer beats the best edit by the same method, key and search budget at a layer drawn at
random. If not, editability says nothing about where."""

from __future__ import annotations

from valley.hypotheses._evidence import LOCATED, Evidence, Finding, Untestable, estimate, mean_over_sizes, scarcest

ID = "H5"
STATEMENT = "The chosen layer matters: an edit there beats one with its real key at a layer drawn at random"
STATISTIC = (
    "methods that write at a key: score at the best setting less that of the control random_layer on the same cases"
)
TEST = "hierarchical bootstrap over sizes, seeds, relations and cases, t by the scarcest of them, two-sided"
SIDED = True
MARGIN = 0.05


def test(evidence: Evidence) -> Finding:
    lines = evidence.curves("delta_layer")
    lines = lines[lines["method"].isin(LOCATED)]
    if lines.empty:
        raise Untestable(
            "not measurable: no random_layer rows; run bench with --methods rome,random_layer" + _key(evidence)
        )
    effect, samples = mean_over_sizes(evidence.scored, lines, "delta_layer", evidence.plan.seed)
    note = f"mean over edit kinds and {', '.join(sorted(set(lines['method'])))}{_key(evidence)}"
    return estimate(effect, samples, *scarcest(evidence, lines), note=note)


def _key(evidence: Evidence) -> str:
    """What the control with a random key says, as a description: an edit at a key that no input has does nothing."""
    lines = evidence.curves("delta_loc")
    lines = lines[lines["method"].isin(LOCATED)]
    return "" if lines.empty else f"; less a random key (random_site): {lines['value'].mean():.3f}, no test of a layer"
