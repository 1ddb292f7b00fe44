"""Do two edits of one request agree, fact by fact? Of a weight edit and steering this is hypothesis H3 within one
concept.

Two questions: do they flip the same facts (Cohen 1960, kappa: agreement beyond that of two edits that flip as many
facts at random), and do they move the facts equally far (Pearson's correlation of the nats each fact was moved). Facts
are queried about the concept alone, or about the siblings alone: over both, edits agree for no better reason than that
concept and siblings differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from benchmarks.live.retarget.draws import draw_weights, interval
from benchmarks.live.retarget.panel import HELD_OUT, SIBLING, TRAINED
from benchmarks.live.retarget.run import STEERING
from editing.lazy import pandas as pd

GROUPS = {"concept": (TRAINED, HELD_OUT), "siblings": (SIBLING,)}
UNIT = ["about", "relation", "lang", "template"]


@dataclass(frozen=True)
class Agreement:
    """Of two methods over `n` questions in `relations` relations; NaN is not measurable, `reason` says why.

    Attributes:
        kappa: of whether the answer became the goal's. r: Pearson's, of the nats moved.
        kappa_interval, r_interval: 95%, bootstrap over relations and the questions in them; NaN from one relation.
    """

    a: str
    b: str
    group: str
    n: int
    relations: int
    kappa: float
    kappa_interval: tuple[float, float]
    r: float
    r_interval: tuple[float, float]
    reason: str = ""

    def as_json(self) -> dict:
        def number(value: float) -> float | None:
            return None if np.isnan(value) else value

        pairs = {key: [number(v) for v in getattr(self, key)] for key in ("kappa_interval", "r_interval")}
        return vars(self) | pairs | {"kappa": number(self.kappa), "r": number(self.r)}


def agreements(questions: pd.DataFrame, seed: int = 0) -> tuple[Agreement, ...]:
    """Steering against each of the other methods in a table of `benchmarks.live.retarget.QUESTIONS`, about the concept
    and its siblings."""
    there = list(dict.fromkeys(questions["by"]))
    pairs = [(a, b) for a, b in combinations(there, 2) if (a == STEERING) != (b == STEERING)]
    apart = questions[questions["own"] != questions["goal"]]
    return tuple(
        _agreement(apart[apart["role"].isin(roles)], a, b, group, seed)
        for a, b in pairs
        for group, roles in GROUPS.items()
    )


def _agreement(questions: pd.DataFrame, a: str, b: str, group: str, seed: int) -> Agreement:
    one, two = (questions[questions["by"] == name].set_index(UNIT).sort_index() for name in (a, b))
    flips = [(t["pick_after"] == t["goal"]).to_numpy(dtype="float64") for t in (one, two)]
    nats = [(t["margin_after"] - t["margin_before"]).to_numpy(dtype="float64") for t in (one, two)]
    relation = one.index.get_level_values("relation").to_numpy(str)
    n, names = len(one), np.unique(relation)
    sound = np.isfinite(nats[0]) & np.isfinite(nats[1])
    ones, weights = sound[None].astype("float64"), draw_weights(relation, seed) * sound
    measures = ((cohen_kappa, flips), (pearson, [np.where(sound, v, 0.0) for v in nats]))
    estimates = [(float(m(ones, *v)[0]), interval(m(weights, *v), len(names))) for m, v in measures]
    flipped = f"{a} flips {flips[0].sum():.0f} and {b} {flips[1].sum():.0f} of {n}" if n else "no question to move"
    why = flipped if np.isnan(estimates[0][0]) else ""
    return Agreement(
        a,
        b,
        group,
        int(sound.sum()),
        len(names),
        estimates[0][0],
        estimates[0][1],
        estimates[1][0],
        estimates[1][1],
        why,
    )


def cohen_kappa(weights: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(draws, n) weights and (n,) zeros and ones -> (draws,): (p_o - p_e) / (1 - p_e); NaN where one of them never
    varies: it is 0 then, whatever they do."""
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights.sum(axis=1)
        p, q, same = (weights @ v / total for v in (a, b, (a == b).astype("float64")))
        chance = p * q + (1 - p) * (1 - q)
        varies = (np.minimum(p, q) > 1e-9) & (np.maximum(p, q) < 1 - 1e-9)
        return np.where(varies, (same - chance) / (1 - chance), np.nan)


def pearson(weights: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(draws, n) weights and (n,) values -> (draws,): weighted correlation; NaN where one of them does not vary."""
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights.sum(axis=1, keepdims=True)
        x, y = (v - weights @ v[:, None] / total for v in (a, b))
        spread = np.sqrt((weights * x * x).sum(1) * (weights * y * y).sum(1))
        return np.where(spread > 1e-12, (weights * x * y).sum(1) / spread, np.nan)
