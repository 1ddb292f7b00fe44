"""H1: a rank-one edit made on some relations of a concept carries over to relations that it was not made on, the more
the stronger."""

from __future__ import annotations

from dataclasses import replace

from valley.hypotheses._evidence import Evidence, Finding, Untestable, slope
from valley.statistics import FLOOR, prominence_test, trend_test

ID = "H1"
STATEMENT = "One rank-one edit moves a whole concept, more so with strength"
STATISTIC = "change of the score on held-out relations of retargeted concepts, weakest to strongest size"
TEST = (
    "a constant against a monotone curve on the primary strength axis, parametric bootstrap, two-sided; inconclusive "
    "where the curve turns (prominence of a valley or hump, p < .025); interval of a weighted line"
)
SIDED = True
MARGIN = 0.1
RANK_ONE = ("rome", "r_rome")


def test(evidence: Evidence) -> Finding:
    table = evidence.curves("relation")
    table = table[table["edit_kind"].eq("retarget") & table["method"].isin(RANK_ONE)]
    if table.empty:
        raise Untestable("no retarget edits by rome or r_rome with probes of held-out relations")
    method = min(table["method"], key=RANK_ONE.index)
    table = table[table["method"] == method]
    curve = evidence.axis_points(table, evidence.samples(table, "relation"))
    line = slope(curve, f"{method}; mean over sizes {curve.y.mean():.3f}")
    plan, variance = evidence.plan, curve.variance.clip(min=FLOOR)
    errors = curve.errors(plan.draws, [plan.seed, 1])
    p = float(trend_test(curve.y, variance, errors, known=curve.known))
    turns = {s: prominence_test(curve.y, variance, errors, s, curve.known) for s in ("valley", "hump")}
    shape, (depth, chance) = max(turns.items(), key=lambda turn: float(turn[1][0]))
    if chance < plan.level / 2:
        text = f"not monotone: a {shape} of {float(depth):.3f}, p = {float(chance):.3g}"
        return replace(line, p=p, note=f"{line.note}; {text}", ruling="inconclusive")
    return replace(line, p=p)
