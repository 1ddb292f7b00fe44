"""What a hypothesis is tested on, and the statistics they share: estimates with bootstrap samples, rank correlation,
curves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.stats import rankdata, t

from valley.rows import CASE, NET, RUNG, SETTING
from valley.scores import SCORES, AnalysisPlan, Available, available, harmonic, on_split, stratum
from valley.statistics import Points, crossed_weights, points, redraw, weighted_means
from valley.verdicts import Shapes, shapes

# Weight edits that write a value at the key of a chosen site (locate, then edit): what sites, keys and leaks say
# anything about.
LOCATED = ("rome", "r_rome", "memit", "emmet", "alphaedit", "pmet")


class Untestable(Exception):
    """The run does not hold what a hypothesis needs; the text says what, in one line."""


@dataclass(frozen=True)
class Finding:
    """What a test found.

    Attributes:
        effect, low, high: effect size and its 95% interval. p: uncorrected, two-sided unless TEST says otherwise.
        n, unit: how many independent things stand behind it, and what they are.
        note: one line on what was used and what could not be.
        ruling: "supported", "refuted" or "inconclusive" where rules beyond p decide; "supported" still needs p.
    """

    effect: float
    low: float
    high: float
    p: float
    n: int
    unit: str = "sizes"
    note: str = ""
    ruling: str = ""


@dataclass(frozen=True)
class Evidence:
    """One run: its rows, or what `available` made of them by the same plan; the plan; and a crispness table or None."""

    rows: pd.DataFrame | Available
    plan: AnalysisPlan = field(default_factory=AnalysisPlan)
    crispness: pd.DataFrame | None = None

    @cached_property
    def found(self) -> Available:
        return self.rows if isinstance(self.rows, Available) else available(self.rows, self.plan)

    @cached_property
    def shapes(self) -> Shapes:
        """The tests and the verdict of every curve, by the plan."""
        return shapes(self.found, self.plan)

    def curves(self, metric: str) -> pd.DataFrame:
        """`Available.of(metric)`: measurable lines only."""
        table = self.found.of(metric)
        return table[table["value"].notna() & table["se"].notna()]

    def axis_points(self, curve: pd.DataFrame) -> Points:
        """A curve against the plan's primary strength axis: the first that the rungs differ on."""
        axes = [axis for axis in self.plan.axes if curve[axis].nunique() > 1] or self.plan.axes
        return points(curve[axes[0]], curve["value"], curve["se"] ** 2, list(curve["rung"]))

    @cached_property
    def edits(self) -> pd.DataFrame:
        """Case scores at each method's chosen setting, on the scored split and the plan's stratum, with `size`,
        `harmonic_mean`."""
        lines = self.found.lines
        lines = lines.loc[lines["reason"] == "", [*RUNG, "size", "edit_kind", *SETTING, "scored_on"]]
        if lines.empty:
            raise Untestable("no rung has enough cases to be scored")
        scores = stratum(self.found.scores, self.plan.which)
        table = scores.merge(lines, on=[*RUNG, "edit_kind", *SETTING])
        parts = [on_split(part, str(split)) for split, part in table.groupby("scored_on")]
        table = pd.concat(parts, ignore_index=True)
        return table.assign(harmonic_mean=harmonic(table["generalisation"].to_numpy(), table["specificity"].to_numpy()))

    def transfer(self) -> pd.DataFrame:
        """Cross-lingual transfer net of the siblings' shift at each method's chosen setting, per language of the edit.

        Not floored at 0, unlike the score of a curve: a floor would hide the spread of a size where nothing transfers.

        Returns:
            ladder, rung, edit_kind, method, edit_lang, the strength axes, n (cases with a score), value, se; lines with
            at least min_known cases.
        """
        scored = self.edits.dropna(subset=[NET])
        lines = self.found.lines.set_index([*RUNG, "edit_kind", "method"])
        out = []
        names = [*RUNG, "edit_kind", "method", "edit_lang"]
        for key, part in scored.groupby(names):
            if len(part) < self.plan.min_known:
                continue
            about = dict(zip(names, tuple(key), strict=True))  # pyright: ignore[reportArgumentType]
            about |= lines.xs(tuple(about[name] for name in names[:-1]))[list(self.plan.axes)].to_dict()
            values = part[[NET]].to_numpy(dtype="float64")
            drawn = weighted_means(self.found.resampler.weights(part), values)
            se = float(np.nanstd(drawn, ddof=1))
            out.append(about | {"n": len(part), "value": float(values.mean()), "se": se})
        return pd.DataFrame(
            out, columns=[*RUNG, "edit_kind", "method", "edit_lang", *self.plan.axes, "n", "value", "se"]
        )


def estimate(effect: float, samples: np.ndarray, n: int, unit: str = "sizes", note: str = "") -> Finding:
    """A finding from an estimate and its bootstrap samples.

    Few sizes are redrawn, so the bootstrap's variance is stretched by n/(n-1) and Student's t with n-1 degrees of
    freedom gives interval and p (Davison and Hinkley 1997, section 2.2.1).

    Raises:
        Untestable: fewer than two units, or no spread to measure.
    """
    if n < 2:
        raise Untestable(f"{n} of {unit}, at least 2 needed")
    se = float(np.nanstd(samples, ddof=1)) * np.sqrt(n / (n - 1))
    if not se > 1e-12:
        raise Untestable(f"the statistic is {effect:.3f} in every bootstrap draw, so it has no measurable spread")
    half = float(t.ppf(0.975, n - 1)) * se
    return Finding(effect, effect - half, effect + half, float(2 * t.sf(abs(effect) / se, n - 1)), n, unit, note)


def mean_over_sizes(found: Available, lines: pd.DataFrame, metric: str, seed: int) -> tuple[float, np.ndarray]:
    """Mean over sizes of the mean over all `lines` of a size; bootstrap samples with sizes and seeds redrawn.

    Args:
        lines: a part of `found.lines`, index kept.
    """
    j = SCORES.index(metric)
    groups = [part for _, part in lines.groupby(["ladder", "size"], sort=False)]
    per_model = [[list(model.index) for _, model in part.groupby("rung", sort=False)] for part in groups]
    value = float(np.mean([np.mean([found.values[m, j].mean() for m in models]) for models in per_model]))
    drawn = [np.stack([found.samples[m, :, j].mean(axis=0) for m in models]) for models in per_model]
    return value, redraw(drawn, seed)


def scarcest(evidence: Evidence, lines: pd.DataFrame) -> tuple[int, str]:
    """How many of what the variance of a mean over `lines` (a part of `found.lines`) rests on: sizes, or the relations
    or subjects
    of an edit kind where those are fewer. All sizes share the cases, so more sizes do not make up for few relations.

    A level with a single member cannot be redrawn and does not count, but for a single size.
    """
    levels = [(lines[["ladder", "size"]].drop_duplicates().shape[0], "sizes")]
    for kind, part in evidence.edits[evidence.edits["edit_kind"].isin(lines["edit_kind"])].groupby("edit_kind"):
        counts = ((part["cluster"].nunique(), "relations"), (part["subject"].nunique(), "subjects"))
        levels += [(n, f"{name} of {kind} edits") for n, name in counts if n > 1]
    return min(levels, key=lambda level: level[0])


def association(pairs: pd.DataFrame, plan: AnalysisPlan, sign: float = 1.0, note: str = "") -> Finding:
    """Spearman's correlation of `a` and `b` across cases within a model, mean over models and sizes.

    Hierarchical bootstrap: sizes and seeds are redrawn, and crosswise the relations and subjects of the cases, the same
    at every model, so that one fact seen by nine models is not taken for nine facts, nor ten facts about one subject
    for ten. Student's t has the degrees of freedom of whichever is scarcest: sizes, relations or subjects. One size, or
    one relation, cannot be redrawn; what is found then holds for that one.

    Args:
        pairs: rung, size, case (name of the unit), subject, cluster, a, b; one line per rung and unit.
        sign: -1 where the hypothesis says that they disagree.

    Raises:
        Untestable: no model has five cases in which both vary.
    """
    pairs = pairs.dropna(subset=["a", "b"])
    units = pairs.drop_duplicates("case").sort_values(["cluster", "case"], kind="stable")
    place = {case: i for i, case in enumerate(units["case"])}
    weights = crossed_weights([units["cluster"].tolist(), units["subject"].tolist()], plan.bootstrap, [plan.seed, 78])
    values: list[float] = []
    drawn: list[np.ndarray] = []
    for _, size in pairs.groupby("size", sort=False):
        found = []
        for _, model in size.groupby("rung", sort=False):
            if len(model) < 5 or model["a"].nunique() < 2 or model["b"].nunique() < 2:
                continue
            a, b = (sign * rankdata(model["a"]), rankdata(model["b"]))
            here = [place[case] for case in model["case"]]
            found.append((_correlation(np.ones((1, len(a))), a, b)[0], _correlation(weights[:, here], a, b)))
        if found:
            values.append(float(np.mean([value for value, _ in found])))
            drawn.append(np.stack([np.nan_to_num(samples) for _, samples in found]))
    if not values:
        raise Untestable("no model has at least 5 cases in which both scores vary")
    levels = {"sizes": len(values), "relations": units["cluster"].nunique(), "subjects": units["subject"].nunique()}
    unit, n = min(((name, count) for name, count in levels.items() if count > 1), key=lambda level: level[1])
    note = "; ".join(
        filter(None, (note, f"{len(units)} cases, " + ", ".join(f"{c} {name}" for name, c in levels.items())))
    )
    return estimate(float(np.mean(values)), redraw(drawn, plan.seed), n, unit, note)


def _correlation(weights: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation under each draw's weights: (draws, n), (n,), (n,) -> (draws,); NaN where one does not vary
    in a draw."""
    a, b = a - a.mean(), b - b.mean()
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Callable[[np.ndarray], np.ndarray] = lambda v: weights @ v / total  # noqa: E731
        varied = (mean(a * a) - mean(a) ** 2) * (mean(b * b) - mean(b) ** 2)
        found = (mean(a * b) - mean(a) * mean(b)) / np.sqrt(varied)
    # A draw of one value only leaves a rounding error for a variance, and anything for a ratio.
    least = 1e-9 * max(float(a @ a / len(a)) * float(b @ b / len(b)), 1e-300)
    return np.where(varied > least, np.clip(found, -1, 1), np.nan)


def unit_names(table: pd.DataFrame) -> pd.Series:
    """One name per case across rungs: edit kind, data set and case id."""
    first, second = CASE
    return table["edit_kind"] + "/" + table[first] + "/" + table[second]


def slope(curve: Points, note: str = "") -> Finding:
    """Change of the score from the weakest to the strongest size: weighted line, Student's t with n-2 degrees of
    freedom.

    Where the points scatter more than their variances say, the standard error grows with them (Birge's ratio).

    Raises:
        Untestable: fewer than four sizes or no spread in strength.
    """
    n = len(curve.x)
    if n < 4 or np.ptp(curve.x) == 0:
        raise Untestable(f"{n} sizes of different strength, at least 4 needed for a trend")
    x = (curve.x - curve.x.min()) / np.ptp(curve.x)
    basis, w = np.column_stack([np.ones(n), x]), 1 / np.maximum(curve.variance, 1e-6)
    covariance = np.linalg.inv(basis.T @ (basis * w[:, None]))
    beta = covariance @ basis.T @ (w * curve.y)
    scatter = max(1.0, float((w * (curve.y - basis @ beta) ** 2).sum()) / (n - 2))
    se = float(np.sqrt(covariance[1, 1] * scatter))
    half = float(t.ppf(0.975, n - 2)) * se
    p = float(2 * t.sf(abs(beta[1]) / se, n - 2))
    return Finding(float(beta[1]), float(beta[1] - half), float(beta[1] + half), p, n, "sizes", note)
