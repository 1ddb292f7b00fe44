"""What a hypothesis is tested on, and the statistics they share: estimates with bootstrap samples, rank correlation,
curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.stats import rankdata, t

from editing.lazy import pandas as pd
from valley.rows import CASE, NET, RUNG, SETTING
from valley.scores import SCORES, AnalysisPlan, Available, available, on_split, stratum
from valley.statistics import Points, harmonic, points, redraw, unit_weights, weighted_means
from valley.verdicts import Shapes, Specifications, shapes

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
    """One run: its rows, or what `available` made of them by the same plan; the plan; and a crispness table and a
    readings table, or None."""

    rows: pd.DataFrame | Available
    plan: AnalysisPlan = field(default_factory=AnalysisPlan)
    crispness: pd.DataFrame | None = None
    readings: pd.DataFrame | None = None

    @cached_property
    def scored(self) -> Available:
        return self.rows if isinstance(self.rows, Available) else available(self.rows, self.plan)

    @cached_property
    def specifications(self) -> Specifications:
        """The verdict under every composite."""
        return Specifications(self.scored, self.plan)

    @cached_property
    def shapes(self) -> Shapes:
        """The tests and the verdict of every curve, by the plan."""
        return shapes(self.scored, self.plan)

    def curves(self, metric: str) -> pd.DataFrame:
        """`Available.of(metric)`: measurable lines only."""
        table = self.scored.of(metric)
        return table[table["value"].notna() & table["se"].notna()]

    def axis_points(self, curve: pd.DataFrame, samples: np.ndarray) -> Points:
        """A curve against the plan's primary strength axis, the first that its rungs differ on, within the family of
        models (grown, pretrained) that has most sizes: a difference of level between families is no trend.

        Args:
            curve: lines with rung, size, family, `value` and the axes. samples: (lines, draws).
        """
        family = curve.groupby("family")["size"].nunique().idxmax()
        inside = (curve["family"] == family).to_numpy()
        curve, samples = curve[inside], samples[inside]
        axes = [axis for axis in self.plan.axes if curve[axis].nunique() > 1] or self.plan.axes
        return points(curve[axes[0]], curve["value"], samples, list(curve["rung"]))

    def samples(self, curve: pd.DataFrame, metric: str) -> np.ndarray:
        """(lines, draws) of a part of `curves(metric)`, index kept."""
        return self.scored.samples[curve.index.to_numpy(), :, SCORES.index(metric)]

    @cached_property
    def edits(self) -> pd.DataFrame:
        """Case scores at each method's chosen setting, on the scored split and the plan's stratum, with `size`,
        `score`."""
        lines = self.scored.lines
        lines = lines.loc[lines["reason"] == "", [*RUNG, "size", "edit_kind", *SETTING, "scored_on"]]
        if lines.empty:
            raise Untestable("no rung has enough cases to be scored")
        scores = stratum(self.scored.scores, self.plan.which)
        table = scores.merge(lines, on=[*RUNG, "edit_kind", *SETTING])
        parts = [on_split(part, str(split)) for split, part in table.groupby("scored_on")]
        table = pd.concat(parts, ignore_index=True)
        return table.assign(score=harmonic(table["generalisation"].to_numpy(), table["specificity"].to_numpy()))

    @property
    def located(self) -> pd.DataFrame:
        """`edits` by methods that write at a key."""
        edits = self.edits[self.edits["method"].isin(LOCATED)]
        if edits.empty:
            raise Untestable(f"no edits with enough cases by a method that writes at a key: {', '.join(LOCATED)}")
        return edits

    def transfer(self) -> pd.DataFrame:
        """Cross-lingual transfer net of the siblings' shift at each method's chosen setting, per language of the edit.

        Not floored at 0, unlike the score of a curve: a floor would hide the spread of a size where nothing transfers.

        Returns:
            ladder, rung, edit_kind, method, edit_lang, size, family, the strength axes, n (cases with a score), value,
            se, drawn (samples of one line); lines with as many cases as the plan needs.
        """
        scored = self.edits.dropna(subset=[NET])
        lines = self.scored.lines.set_index([*RUNG, "edit_kind", "method"])
        out = []
        names = [*RUNG, "edit_kind", "method", "edit_lang"]
        for key, part in scored.groupby(names):
            if len(part) < self.plan.needed(str(tuple(key)[names.index("edit_kind")])):
                continue
            about = dict(zip(names, tuple(key), strict=True))  # pyright: ignore[reportArgumentType]
            about |= lines.xs(tuple(about[name] for name in names[:-1]))[["size", "family", *self.plan.axes]].to_dict()
            values = part[[NET]].to_numpy(dtype="float64")
            drawn = weighted_means(self.scored.resampler.weights(part), values)
            se = float(np.nanstd(drawn, ddof=1))
            out.append(about | {"n": len(part), "value": float(values.mean()), "se": se, "drawn": drawn[:, 0]})
        return pd.DataFrame(
            out,
            columns=[
                *RUNG,
                "edit_kind",
                "method",
                "edit_lang",
                "size",
                "family",
                *self.plan.axes,
                "n",
                "value",
                "se",
                "drawn",
            ],
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
    return by_student(effect, se, n - 1, n, unit, note)


def by_student(effect: float, se: float, freedom: int, n: int, unit: str, note: str) -> Finding:
    """A finding whose interval and two-sided p are Student's, with the standard error `se`."""
    half = float(t.ppf(0.975, freedom)) * se
    p = float(2 * t.sf(abs(effect) / se, freedom))
    return Finding(float(effect), float(effect - half), float(effect + half), p, n, unit, note)


def weakest(findings: Mapping[str, Finding]) -> Finding:
    """Findings that must all pass as one: the least effect, the lowest ends of the intervals, the largest p."""
    every = list(findings.values())
    last = max(every, key=lambda finding: finding.p)
    effect, low, high = (min(getattr(one, name) for one in every) for name in ("effect", "low", "high"))
    note = ", ".join(f"{name} {one.effect:.3f} (p = {one.p:.3g})" for name, one in findings.items())
    return Finding(effect, low, high, last.p, last.n, last.unit, note)


def best_layers(table: pd.DataFrame) -> pd.DataFrame:
    """rung, layer: the layer of each rung where the mean of `value` is highest."""
    best = table.groupby(["rung", "layer"])["value"].mean().groupby(level="rung").idxmax()
    return pd.DataFrame(list(best), columns=["rung", "layer"]).astype({"layer": table["layer"].dtype})


def mean_over_sizes(scored: Available, lines: pd.DataFrame, metric: str, seed: int) -> tuple[float, np.ndarray]:
    """Mean over sizes of the mean over all `lines` of a size; bootstrap samples with sizes and seeds redrawn.

    Args:
        lines: a part of `scored.lines`, index kept.
    """
    j = SCORES.index(metric)
    groups = [part for _, part in lines.groupby(["ladder", "size"], sort=False)]
    per_model = [[list(model.index) for _, model in part.groupby("rung", sort=False)] for part in groups]
    value = float(np.mean([np.mean([scored.values[m, j].mean() for m in models]) for models in per_model]))
    drawn = [np.stack([scored.samples[m, :, j].mean(axis=0) for m in models]) for models in per_model]
    return value, redraw(drawn, seed)


def scarcest(evidence: Evidence, lines: pd.DataFrame) -> tuple[int, str]:
    """How many of what the variance of a mean over `lines` (a part of `scored.lines`) rests on: sizes, or the relations
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
    """Correlation of `a` and `b` across subjects within a model, mean over models and sizes, by permutation.

    Relations and subjects make cases alike, so both scores are ranked within a model, taken less the mean of their
    relation, and averaged per subject: subjects of the same relations are then exchangeable where nothing associates
    `a` and `b`, and p is that of `a` permuted among them, the same at every model (Pitman 1937; Fisher's
    exchangeability within blocks). Subjects whose relations no other subject has are left out: nothing there can be
    compared with them. One fact at nine models is thus not taken for nine facts, nor ten facts about one subject for
    ten. The interval is Student's, with as many degrees of freedom as there are subjects less groups of the same
    relations; its standard error is that of a bootstrap over subjects or of the permutations, whichever is larger,
    since scores less the mean of a small relation are not independent.

    Args:
        pairs: rung, size, case (name of the unit), subject, cluster (relation), a, b; one line per rung and unit.
        sign: -1 where the hypothesis says that they disagree.

    Raises:
        Untestable: no two subjects have the same relations, or no model has five subjects in which both vary.
    """
    pairs = pairs.dropna(subset=["a", "b"])
    if pairs.empty:
        raise Untestable("no case has both scores")
    pairs, blocks = comparable(pairs)
    subjects = {name: i for i, name in enumerate(blocks.index)}
    rng = np.random.default_rng([plan.seed, 78])
    n, freedom = len(subjects), len(subjects) - blocks.nunique()
    # Blocks stand together and are numbered from 0 on, so numbers below 1 added to theirs never change their order.
    orders = np.argsort(blocks.to_numpy() + rng.random((plan.draws, n)), axis=1)
    weights = unit_weights(n, plan.bootstrap, rng)
    observed, permuted, drawn = [], [], []
    for _, size in pairs.groupby("size", sort=False):
        models = []
        for _, model in size.groupby("rung", sort=False):
            a, b = (by_subject(model, column, subjects) for column in ("a", "b"))
            there = np.isfinite(a)
            if there.sum() < 5 or np.ptp(a[there]) < 1e-12 or np.ptp(b[there]) < 1e-12:
                continue
            a, both = sign * np.where(there, a, 0.0), np.where(there, b, 0.0)
            models.append((
                _correlations(a[None], both, there[None] & there)[0],
                _correlations(a[orders], both, there[orders] & there),
                _correlations(a[None], both, weights * there),
            ))  # fmt: skip
        if models:
            for kept, values in zip((observed, permuted, drawn), zip(*models, strict=True), strict=True):
                kept.append(np.mean(values, axis=0))
    if not observed:
        raise Untestable("no model has at least 5 subjects in which both scores vary")
    effect, chance = float(np.mean(observed)), np.mean(permuted, axis=0)
    p = (1 + int((np.abs(chance) >= abs(effect) - 1e-12).sum())) / (1 + plan.draws)
    half = float(t.ppf(0.975, freedom)) * max(float(np.std(one, ddof=1)) for one in (np.mean(drawn, axis=0), chance))
    counts = f"{pairs['case'].nunique()} cases, {len(observed)} sizes, {pairs['cluster'].nunique()} relations"
    about = "; ".join(filter(None, (note, counts)))
    return Finding(effect, effect - half, effect + half, p, n, "subjects", about)


def comparable(pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """The lines of subjects that another subject shares all relations with, and the number of that group by subject,
    groups one after another.

    Raises:
        Untestable: there is no such subject.
    """
    relations = pairs.groupby("subject")["cluster"].agg(lambda names: "\0".join(sorted(set(map(str, names)))))
    shared = relations[relations.duplicated(keep=False)]
    if shared.empty:
        raise Untestable("no two subjects have the same relations, so none can be compared within a relation")
    blocks = pd.Series(pd.factorize(shared)[0], index=shared.index).sort_values(kind="stable")
    return pairs[pairs["subject"].isin(blocks.index)], blocks


def by_subject(model: pd.DataFrame, column: str, subjects: dict[str, int]) -> np.ndarray:
    """(subjects,) mean rank of `column` less the mean of its relation; NaN for subjects that the model lacks."""
    ranks = pd.Series(rankdata(model[column]), index=model.index)
    if model["cluster"].nunique() < len(model):
        ranks = ranks - ranks.groupby(model["cluster"]).transform("mean")
    out = np.full(len(subjects), np.nan)
    means = ranks.groupby(model["subject"]).mean()
    out[[subjects[name] for name in means.index]] = means.to_numpy()
    return out


def _correlations(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted Pearson correlations of a (1 or draws, n) with b (n,): (draws,); 0 where one of them does not vary."""
    total = weights.sum(axis=1)
    mean_a, mean_b = ((weights * values).sum(axis=1) / total for values in (a, b))
    covered = (weights * a * b).sum(axis=1) / total - mean_a * mean_b
    varied = ((weights * a * a).sum(axis=1) / total - mean_a**2) * ((weights * b * b).sum(axis=1) / total - mean_b**2)
    return np.where(varied > 1e-12, covered / np.sqrt(np.maximum(varied, 1e-12)), 0.0)


def unit_names(table: pd.DataFrame) -> pd.Series:
    """One name per case across rungs: edit kind, data set and case id."""
    first, second = CASE
    parts = [table[name].astype("str") for name in ("edit_kind", first, second)]
    return parts[0] + "/" + parts[1] + "/" + parts[2]


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
    return by_student(beta[1], se, n - 2, n, "sizes", note)
