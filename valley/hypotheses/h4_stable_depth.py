"""H4: the best depth to edit, as a fraction of the layers, is the same at every size."""

from __future__ import annotations

import numpy as np

from valley.hypotheses._evidence import Evidence, Finding, Untestable
from valley.kinds import CONTROLS, RUNG

ID = "H4"
STATEMENT = "The best layer, as a fraction of the depth, is stable across sizes"
STATISTIC = "mean distance between best depths expected by chance less that observed"
TEST = "best depths drawn at random from those tried at each size, one-sided; interval by bootstrap over sizes"
SIDED = True
MARGIN = 0.05


def test(evidence: Evidence) -> Finding:
    scores = evidence.found.scores
    tried = scores[~scores["method"].isin(CONTROLS)].groupby([*RUNG, "edit_kind", "method"])["depth"].unique()
    best = evidence.found.lines[evidence.found.lines["reason"] == ""]
    rng = np.random.default_rng([evidence.plan.seed, 4])
    draws, curves = evidence.plan.draws, []
    for _, group in best.groupby(["edit_kind", "method"]):
        options = [tried[tuple(line[k] for k in (*RUNG, "edit_kind", "method"))] for line in group.to_dict("records")]
        several = [i for i, depths in enumerate(options) if len(depths) > 1]
        if len(several) >= 3:
            chance = np.stack([rng.choice(options[i], size=draws) for i in several])
            curves.append((group["depth"].to_numpy()[several], chance))
    if not curves:
        raise Untestable("fewer than 3 models tried more than one depth; sweep depths with bench --set depth=...")
    expected = np.mean([_distance(chance) for _, chance in curves], axis=0)
    observed = float(np.mean([_distance(depths[:, None])[0] for depths, _ in curves]))
    p = (1 + int((expected <= observed).sum())) / (1 + draws)
    redrawn = np.mean([_distance(rng.choice(depths, size=(len(depths), draws))) for depths, _ in curves], axis=0)
    # A sample of n with replacement repeats itself: its mean distance is (n-1)/n of the true one.
    stretch = np.mean([len(depths) / (len(depths) - 1) for depths, _ in curves])
    low, high = np.quantile(expected.mean() - redrawn * stretch, [0.025, 0.975])
    n = max(len(depths) for depths, _ in curves)
    return Finding(float(expected.mean() - observed), float(low), float(high), p, n, "models", f"{len(curves)} curves")


def _distance(depths: np.ndarray) -> np.ndarray:
    """Mean distance between the pairs of rows of (n, draws): (draws,)."""
    i, j = np.triu_indices(len(depths), 1)
    return np.abs(depths[i] - depths[j]).mean(axis=0)
