"""H7: editability falls and rises again with strength. Judged by the verdict rules for shapes, not by p alone."""

from __future__ import annotations

import numpy as np

from valley.hypotheses._evidence import Evidence, Finding, Untestable
from valley.verdicts import INCONCLUSIVE

ID = "H7"
STATEMENT = "There is a valley: editability falls with strength and then rises again"
STATISTIC = (
    "prominence D of the valley, least over methods and strength axes; interval one-sided from 0 to the upper bound"
)
TEST = (
    "prominence against the best monotone curve, largest p over methods and axes, Bonferroni over edit "
    "kinds; verdict by the shape rules"
)
SIDED = True
MARGIN = 0.1


def test(evidence: Evidence) -> Finding:
    found = evidence.shapes
    tests = found.tests[found.tests["df"] > 0].dropna(subset=["p_valley"])
    if tests.empty:
        reasons = "; ".join(dict.fromkeys(f"{kind}: {v.text}" for (_, kind), v in found.verdicts.items()))
        raise Untestable(reasons)
    groups = {
        (str(k[0]), str(k[1])): part for k, part in tests.groupby(["ladder", "edit_kind"]) if isinstance(k, tuple)
    }
    key = min(groups, key=lambda k: float(groups[k]["p_valley"].max()))
    best = groups[key]
    outcomes = {v.outcome for v in found.verdicts.values()}
    if "valley" in outcomes:
        ruling = "supported"
        key = next(k for k, v in found.verdicts.items() if v.outcome == "valley")
        pairs, best = set(found.verdicts[key].agreeing), groups[key]
        best = best[[pair in pairs for pair in zip(best["method"], best["axis"], strict=True)]]
    else:
        ruling = INCONCLUSIVE if INCONCLUSIVE in outcomes else "refuted"
    p = min(1.0, float(best["p_valley"].max()) * len(groups))
    bound = float(np.max(best["bound"]))
    note = "; ".join(f"{kind}: {v.text}" for (_, kind), v in found.verdicts.items())
    n = int(best["n_sizes"].max())
    return Finding(float(best["D_valley"].min()), 0.0, bound, p, n, "sizes", note, ruling)
