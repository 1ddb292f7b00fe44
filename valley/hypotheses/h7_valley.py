"""H7: editability falls and rises again with strength. Judged by the verdict rules for shapes, not by p alone."""

from __future__ import annotations

from valley.hypotheses._evidence import Evidence, Finding, Untestable
from valley.statistics import holm
from valley.verdicts import BEST, INCONCLUSIVE, shapes

ID = "H7"
STATEMENT = "There is a valley: editability falls with strength and then rises again"
STATISTIC = (
    "prominence D of the valley of the best method's curve, least over strength axes; interval one-sided from 0 to the "
    "upper bound"
)
TEST = (
    "prominence against the best monotone curve, largest p over the strength axes that count, least over edit kinds "
    "after Holm; verdict by the shape rules under all composites"
)
SIDED = True
MARGIN = 0.1


def test(evidence: Evidence) -> Finding:
    result = shapes(evidence.scored, evidence.plan, whole=False)
    tests = result.tests[
        (result.tests["method"] == BEST) & result.tests["counted"].astype(bool) & (result.tests["df"] > 0)
    ]
    tests = tests.dropna(subset=["p_valley"])
    combined = {key: one.verdict for key, one in evidence.specifications.combined.items()}
    note = "; ".join(f"{kind}: {v.text}" for (_, kind), v in combined.items())
    if tests.empty:
        reasons = "; ".join(f"{kind}: {v.text}" for (_, kind), v in result.verdicts.items())
        raise Untestable(reasons or "no curve could be tested")
    curves = [part for _, part in tests.groupby(["ladder", "edit_kind", "family"])]
    p = holm([float(part["p_valley"].max()) for part in curves])
    curve = curves[p.index(min(p))]
    outcomes = {v.outcome for v in combined.values()}
    ruling = "supported" if "valley" in outcomes else INCONCLUSIVE if INCONCLUSIVE in outcomes else "refuted"
    depth, bound, n = curve["D_valley"].min(), curve["bound"].max(), curve["n_sizes"].max()
    return Finding(float(depth), 0.0, float(bound), min(p), int(n), "sizes", note, ruling)
