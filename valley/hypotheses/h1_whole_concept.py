"""H1: a rank-one edit made on some relations of a concept carries over to relations that it was not made on, the more
the stronger."""

from __future__ import annotations

from valley.hypotheses._evidence import Evidence, Finding, Untestable, slope

ID = "H1"
STATEMENT = "One rank-one edit moves a whole concept, more so with strength"
STATISTIC = "change of the score on held-out relations of retargeted concepts, weakest to strongest size"
TEST = "weighted line on the primary strength axis, t with n-2 degrees of freedom, two-sided"
SIDED = True
MARGIN = 0.1
RANK_ONE = ("rome", "r_rome")


def test(evidence: Evidence) -> Finding:
    table = evidence.curves("relation")
    table = table[table["edit_kind"].eq("retarget") & table["method"].isin(RANK_ONE)]
    if table.empty:
        raise Untestable("no retarget edits by rome or r_rome with probes of held-out relations")
    method = min(table["method"], key=RANK_ONE.index)
    curve = evidence.axis_points(table[table["method"] == method])
    return slope(curve, f"{method}; mean over sizes {curve.y.mean():.3f}")
