"""H5: editing at the chosen site beats editing at a random layer with a random key. If not, editability says nothing
about where."""

from __future__ import annotations

from valley.hypotheses._evidence import LOCATED, Evidence, Finding, Untestable, estimate, mean_over_sizes, scarcest

ID = "H5"
STATEMENT = "The chosen site matters: an edit there beats one at a random layer and key"
STATISTIC = (
    "dE_loc of methods that write at a key: harmonic mean at the best setting less that of random_site "
    "on the same cases"
)
TEST = "hierarchical bootstrap over sizes, seeds, relations and cases, t by the scarcest of them, two-sided"
SIDED = True
MARGIN = 0.05


def test(evidence: Evidence) -> Finding:
    lines = evidence.curves("delta_loc")
    lines = lines[lines["method"].isin(LOCATED)]
    if lines.empty:
        raise Untestable(
            f"no cases edited both by the control random_site and by one of {', '.join(LOCATED)}; "
            "run bench with --methods rome,random_site into the same folder"
        )
    effect, samples = mean_over_sizes(evidence.found, lines, "delta_loc", evidence.plan.seed)
    return estimate(
        effect,
        samples,
        *scarcest(evidence, lines),
        note=f"mean over edit kinds and {', '.join(sorted(set(lines['method'])))}",
    )
