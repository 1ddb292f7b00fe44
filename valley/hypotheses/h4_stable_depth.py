"""H4: the best depth to edit, as a fraction of the layers, is the same at every size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from editing.lazy import pandas as pd
from valley.hypotheses._evidence import Evidence, Finding, Untestable
from valley.rows import CONTROLS, RUNG

ID = "H4"
STATEMENT = "The best layer, as a fraction of the depth, is stable across sizes"
STATISTIC = "mean distance between the best depths of two sizes expected by chance less that observed"
TEST = (
    "a size's best depths drawn at random from those tried, together for its seeds, methods and kinds, "
    "one-sided; interval by bootstrap over sizes, t"
)
SIDED = True
MARGIN = 0.05
SIZES = 3


@dataclass(frozen=True)
class Depths:
    """The best depths of one edit kind and method: of each model its size (a number), best depth, and the depths it
    tried."""

    size: np.ndarray
    best: np.ndarray
    tried: tuple[np.ndarray, ...]

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Models of different sizes; seeds of one size share its layers and are no evidence of stability across
        sizes."""
        i, j = np.triu_indices(len(self.size), 1)
        apart = self.size[i] != self.size[j]
        return i[apart], j[apart]


def test(evidence: Evidence) -> Finding:
    sizes, curves = _curves(evidence)
    if not curves:
        raise Untestable(f"fewer than {SIZES} sizes tried more than one depth; sweep depths with bench --set depth=...")
    rng, draws, n = np.random.default_rng([evidence.plan.seed, 4]), evidence.plan.draws, len(sizes)
    # One place in the list of depths for all models, methods and kinds of a size: the most they can depend on each
    # other.
    place = rng.random((n, draws))
    chance = np.mean([_distance(c, _drawn(c, place)) for c in curves], axis=0)
    observed = float(np.mean([_distance(c, c.best[:, None])[0] for c in curves]))
    p = (1 + int((chance <= observed + 1e-12).sum())) / (1 + draws)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype("float64")
    drawn = np.stack([_redrawn(c, weights) for c in curves])
    with np.errstate(invalid="ignore"):  # a draw that leaves one size only has no distance
        redrawn = np.nansum(drawn, axis=0) / np.isfinite(drawn).sum(axis=0)
    half = float(t.ppf(0.975, n - 1)) * float(np.nanstd(redrawn, ddof=1)) * np.sqrt(n / (n - 1))
    effect = float(chance.mean()) - observed
    return Finding(effect, effect - half, effect + half, p, n, "sizes", f"{len(curves)} curves of method and edit kind")


def _curves(evidence: Evidence) -> tuple[list[tuple], list[Depths]]:
    """The sizes that any curve has, and the curves of at least SIZES sizes that tried several depths."""
    scores = evidence.scored.scores.dropna(subset=["depth"])
    tried = scores[~scores["method"].isin(CONTROLS)].groupby([*RUNG, "edit_kind", "method"])["depth"].unique()
    best = evidence.scored.lines
    best = best[best["reason"].eq("") & best["depth"].notna()]
    keys = pd.MultiIndex.from_frame(best[[*RUNG, "edit_kind", "method"]])
    best = best.assign(tried=tried.reindex(keys).to_numpy())
    best = best[best["tried"].map(lambda depths: isinstance(depths, np.ndarray) and len(depths) > 1).astype(bool)]
    groups = [part for _, part in best.groupby(["edit_kind", "method"])]
    groups = [part for part in groups if len(part[["ladder", "size"]].drop_duplicates()) >= SIZES]
    sizes = sorted({key for part in groups for key in part[["ladder", "size"]].itertuples(index=False, name=None)})
    number = {key: i for i, key in enumerate(sizes)}
    return sizes, [
        Depths(
            np.array([number[key] for key in part[["ladder", "size"]].itertuples(index=False, name=None)]),
            part["depth"].to_numpy(dtype="float64"),
            tuple(np.sort(depths) for depths in part["tried"]),
        )
        for part in groups
    ]


def _drawn(curve: Depths, place: np.ndarray) -> np.ndarray:
    """Depths at the same place (sizes, draws), in [0, 1), of each model's own list: (models, draws)."""
    return np.stack([d[(place[s] * len(d)).astype(int)] for s, d in zip(curve.size, curve.tried, strict=True)])


def _distance(curve: Depths, depths: np.ndarray) -> np.ndarray:
    """Mean distance between models of different sizes: (models, draws) -> (draws,)."""
    i, j = curve.pairs
    return np.abs(depths[i] - depths[j]).mean(axis=0)


def _redrawn(curve: Depths, weights: np.ndarray) -> np.ndarray:
    """The observed distance with sizes redrawn (draws, sizes): (draws,). A size is never held against itself."""
    i, j = curve.pairs
    both = weights[:, curve.size[i]] * weights[:, curve.size[j]]
    with np.errstate(invalid="ignore", divide="ignore"):
        return both @ np.abs(curve.best[i] - curve.best[j]) / both.sum(axis=1)
