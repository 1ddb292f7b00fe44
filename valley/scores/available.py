"""How much generalisation and specificity a rung makes available, per edit kind and method: the best setting's score,
E_HV, Gen@Spec.

Settings are chosen on dev cases and scored on test cases, each method on its own grid. Every number has bootstrap
samples from the same draws of cases, so that rungs, methods and kinds are compared fact by fact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import METRICS, RANDOM_LAYER, RANDOM_SITE, RUNG, SETTING, STRATA, RowsError
from valley.scores.cases import at_full_dose, check, coded, scores_of
from valley.scores.composites import Composite, by_name, chooser, composites
from valley.scores.grid import grids
from valley.scores.plan import AnalysisPlan
from valley.scores.resampling import BASE, COMPOSITES, Drawn, Resampler, Sampled, composites_of
from valley.scores.settings import GROUP, choose, group_means, on_split, pareto, placebo_of, placebos, ruler_of, stratum
from valley.scores.strengths import counted_rate, family_of, foreign_to_prose, strange_to_sentences
from valley.statistics import bounds, hypervolume, selection_regret, size_of

# From the front of settings, beside the METRICS of the best one.
FRONT = ("e_hv", "gen_at_spec", "spec_at_spec", "delta_loc", "delta_layer")
SCORES: tuple[str, ...] = (*METRICS, *FRONT, *COMPOSITES)
KEY: tuple[str, ...] = (*RUNG, "size", "edit_kind", "method")
PLAN_AXES = {
    "place_in_ladder": ("rung_index", lambda v: v),
    "bits_per_byte_world": ("bits_per_byte_world_en", lambda v: -v),
    "bits_per_byte": ("bits_per_byte_en", lambda v: -v),
    "log10_parameters": ("parameters", np.log10),
    "known_rate": ("known_rate_en", lambda v: v),
    "log10_training_tokens": ("training_tokens", np.log10),
}
# Difference to the same method's control: a random key at a random layer; its real key at a random layer.
CONTROL_OF = {"delta_loc": RANDOM_SITE, "delta_layer": RANDOM_LAYER}


def least_of(metric: str) -> float:
    """The least that a score of SCORES can be: 0, of a difference -1."""
    return -1.0 if metric in CONTROL_OF else 0.0


@dataclass(frozen=True)
class Available:
    """Scores of every rung, edit kind and method.

    Attributes:
        lines: KEY, the strength axes, settings, depth, n (cases), n_settings, n_front, chosen_on, n_dev (cases
            that chose), regret (upper value of what choosing on so few costs), scored_on, reason (why there are no
            scores; else empty), family (`valley.scores.strengths.FAMILIES`), grid (`valley.scores.grid.grids`).
        values: (lines, SCORES) estimates; NaN is not measurable.
        samples: (lines, draws, SCORES), bootstrap over relations and cases, the same draws in every line.
        units, cases: (lines, SCORES) how many of them have each score, as in `Sampled`.
        dev: (lines, SCORES) of the chosen setting on the development cases, which choose among methods. A composite
            above placebo has its `on_dev` here, as placebos run on test cases. NaN for scores that choose nothing.
        scores: the case scores behind them. resampler: the bootstrap draws over cases that `samples` come from.
        metric: of the plan, by which settings are chosen. ruler: the composite that `generalisation`, `specificity` and
            `score` are of. note: why it is not the plan's, or empty.
    """

    lines: pd.DataFrame
    values: np.ndarray
    samples: np.ndarray
    units: np.ndarray
    cases: np.ndarray
    dev: np.ndarray
    scores: pd.DataFrame
    resampler: Resampler
    metric: str
    ruler: Composite
    note: str = ""

    def column(self, metric: str) -> int:
        """Place among SCORES of a plan's metric; a composite by its former name too."""
        return SCORES.index(metric if metric in SCORES else by_name(metric).name)

    def of(self, metric: str) -> pd.DataFrame:
        """`lines` with `value`, `se` and the 95% interval `low`, `high` of one score, and `dev` of it."""
        j = self.column(metric)
        value, drawn = self.values[:, j], self.samples[:, :, j]
        low, high = bounds(drawn.T, self.units[:, j], self.cases[:, j], value, least_of(metric))
        se, stated = np.full(len(drawn), np.nan), ~np.isnan(low)
        se[stated] = np.nanstd(drawn[stated], axis=1, ddof=1)
        return self.lines.assign(value=value, se=se, low=low, high=high, dev=self.dev[:, j])


def available(rows: pd.DataFrame, plan: AnalysisPlan | None = None, scores: pd.DataFrame | None = None) -> Available:
    """Score every rung, edit kind and method of a run.

    Args:
        scores: `case_scores(rows)` of rows that were checked, to spare doing it again.

    Raises:
        RowsError: the rows are not sound; see `valley.scores.cases.check`.
    """
    plan = plan or AnalysisPlan()
    if scores is None:
        rows = check(rows)
        scores = scores_of(rows)
    rows = at_full_dose(rows)
    resampler = Resampler(scores, plan.bootstrap, plan.seed)
    strength, layers = _strengths(rows), grids(rows)
    tried = rows.loc[rows["method"] != "", list(GROUP)].drop_duplicates()
    one, note = ruler_of(plan.metric, scores)
    prepared = _prepare(scores, plan, one)
    lines, made, dev = [], [], []
    chosen = choose(scores, tried, plan.which, plan.metric, ["method"], (prepared.on_stratum, prepared.on_whole))
    for pick in chosen.to_dict("records"):
        line, scored = _line(prepared, pick, resampler, plan)
        line["grid"] = layers.get((line["ladder"], line["method"]), "")
        lines.append(line | strength.loc[tuple(line[k] for k in RUNG)].to_dict())
        made.append(scored)
        best = *(pick[name] for name in PLACE), pick["settings"]
        dev.append(prepared.on_dev[pick["scored_on"]].get(best, np.full(len(SCORES), np.nan)))
    if not lines:
        raise RowsError("the run has no method that edits, only controls; run bench with a method such as rome")
    table = pd.DataFrame(lines)
    order = table.sort_values(["ladder", "edit_kind", "method", "rung_index", "rung"], kind="stable").index
    return Available(
        table.loc[order].reset_index(drop=True),
        *(array[order] for array in Sampled.stacked(made).arrays),
        dev=np.stack(dev)[order],
        scores=scores,
        resampler=resampler,
        metric=plan.metric,
        ruler=one,
        note=note,
    )


def _strengths(rows: pd.DataFrame) -> pd.DataFrame:
    """The strength axes and the family of every rung.

    NaN where a rung does not state an axis; prose in a ladder with rungs that cannot read it; and the world's sentences
    for models that were not grown on them in a ladder of some that were.
    """
    grouped = rows.assign(known_rate_en=counted_rate(rows)).groupby(list(RUNG), observed=True)
    stated = [column for column, _ in PLAN_AXES.values() if column not in RUNG]
    first = grouped[stated].first().astype("float64")
    first["rung_index"] = first.index.get_level_values("rung_index").to_numpy(float)
    about = first.assign(model=grouped["model"].first())
    for _, ladder in about.groupby("ladder"):
        if foreign_to_prose(ladder):
            first.loc[ladder.index, "bits_per_byte_en"] = np.nan
        first.loc[ladder.index[strange_to_sentences(ladder)], "bits_per_byte_world_en"] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        table = pd.DataFrame({axis: turn(first[column]) for axis, (column, turn) in PLAN_AXES.items()})
    return table.where(np.isfinite(table)).assign(family=family_of(about))


@dataclass(frozen=True)
class _Prepared:
    """Case scores and the means of settings, selected once for all lines. Keys: (ladder, index, rung, kind, method).

    Attributes:
        scores: the cases of the stratum.
        dev, used, whole_dev: `group_means` of its development cases, of all its cases (both with COMPOSITES), of all
            development cases. on_stratum, on_whole: `dev` and `whole_dev` in one table.
        on_dev: by what the test scores ("test": `dev`, "all": `used`), the (SCORES,) of every PLACE and its settings.
        placebos: as `settings.placebos`.
        ruler: what generalisation, specificity and score are. chooser: the same without placebo.
    """

    scores: dict[tuple, pd.DataFrame]
    dev: dict[tuple, pd.DataFrame]
    used: dict[tuple, pd.DataFrame]
    whole_dev: dict[tuple, pd.DataFrame]
    on_dev: dict[str, dict[tuple, np.ndarray]]
    placebos: dict[tuple, pd.DataFrame]
    on_stratum: pd.DataFrame
    on_whole: pd.DataFrame
    ruler: Composite
    chooser: Composite

    def means(self, place: tuple, scored_on: str) -> pd.DataFrame:
        """Means of the settings that were tried, on the cases that choose among them."""
        searched = self.dev if scored_on == "test" else self.used
        return searched.get(place, self.whole_dev.get(place, self.on_stratum.iloc[:0]))


PLACE = [*RUNG, "edit_kind", "method"]
SIDES = ("generalisation", "specificity")
_CASE = [*PLACE, "settings", "split", "pair", "cluster", "depth", *SIDES, *BASE]


def _prepare(scores: pd.DataFrame, plan: AnalysisPlan, one: Composite) -> _Prepared:
    by = chooser(plan.metric)
    scores = coded(scores[[*_CASE, *(name for name in STRATA if name in scores)]])
    usable = stratum(scores, plan.which)[_CASE]
    dev, used = (
        means.assign(**dict(zip(COMPOSITES, composites_of(means).T, strict=True)))
        for means in (group_means(usable[usable["split"] == "dev"], by), group_means(usable, by))
    )
    whole_dev = group_means(scores.loc[scores["split"] == "dev", _CASE], by)
    parts = [dict(iter(table.groupby(PLACE, observed=True))) for table in (usable, dev, used, whole_dev)]
    tables = dict(zip(("scores", "dev", "used", "whole_dev"), parts, strict=True))
    on_dev = {"test": _scores_of(dev), "all": _scores_of(used)}
    return _Prepared(
        **tables,
        on_dev=on_dev,
        placebos=placebos(scores[_CASE]),
        on_stratum=dev,
        on_whole=whole_dev,
        ruler=one,
        chooser=by,
    )


def _scores_of(means: pd.DataFrame) -> dict[tuple, np.ndarray]:
    """(PLACE, settings) -> (SCORES,) of its line of `means`; NaN for what chooses nothing."""
    values = np.full((len(means), len(SCORES)), np.nan)
    sides = (*SIDES, "score")
    values[:, [SCORES.index(name) for name in sides]] = means[list(sides)].to_numpy()
    values[:, -len(COMPOSITES) :] = means[[one.on_dev or one.name for one in composites()]].to_numpy()
    return dict(zip(means[[*PLACE, "settings"]].itertuples(index=False, name=None), values, strict=True))


def _line(prepared: _Prepared, pick: dict, resampler: Resampler, plan: AnalysisPlan) -> tuple[dict, Sampled]:
    """One rung, edit kind and method: what describes it, and its SCORES."""
    place = tuple(pick[name] for name in PLACE)
    line = {
        name: pick[name] for name in (*RUNG, "edit_kind", *SETTING, "n_settings", "chosen_on", "scored_on", "reason")
    }
    line |= {"size": size_of(pick["rung"]), "n": 0, "n_front": 0, "depth": np.nan}
    line |= {"n_dev": 0, "regret": np.nan}
    usable = prepared.scores.get(place)
    if usable is None:
        usable = pd.DataFrame(columns=_CASE)
    scored = on_split(usable, pick["scored_on"])
    best = scored[scored["settings"] == pick["settings"]]
    line |= {"n": len(best)}
    needed = plan.needed(pick["edit_kind"])
    if line["reason"] or len(best) < needed:
        line["reason"] = line["reason"] or f"{len(best)} cases, {needed} needed"
        return line, Sampled.nothing(resampler.draws, len(SCORES))
    noise = placebo_of(prepared.placebos, best)
    group = resampler.draw(best, noise)
    line["depth"] = float(best["depth"].median())
    if pick["scored_on"] == "test":
        line |= _regret(usable[usable["split"] == "dev"], pick, plan.seed)
    plain = replace(group, placebo=None)  # placebos run for the best setting only
    means = prepared.means(place, pick["scored_on"])
    front = list(pareto(means)["settings"])
    line["n_front"] = len(front)
    parts = [part for s in front if len(part := scored[scored["settings"] == s])]
    volume = _hypervolume([_sides(resampler.draw(part), prepared.chooser) for part in parts], resampler.draws)
    chosen = Sampled.nothing(resampler.draws, len(SIDES))
    if parts:
        chosen = _at_specificity(means, scored, plain, resampler, prepared.chooser, plan.spec)
    differences = [
        _less_control(prepared, (*place[:-1], control), best, plain, resampler, pick["scored_on"])
        for control in CONTROL_OF.values()
    ]
    return line, Sampled.joined(group.metrics(prepared.ruler), volume, chosen, *differences, group.composites())


def _sides(group: Drawn, one: Composite) -> Sampled:
    """Generalisation and specificity by the composite `one`."""
    return group.metrics(one).at([METRICS.index(name) for name in SIDES])


def _hypervolume(sides: list[Sampled], draws: int) -> Sampled:
    """E_HV (1,) of the front; of one setting it is a product, which says nothing of what else there is."""
    if len(sides) < 2:
        return Sampled.nothing(draws, 1)
    front = Sampled.stacked(sides, axis=-2)
    value, samples = (hypervolume(points[..., 0], points[..., 1]) for points in (front.value[None], front.samples))
    return Sampled(value, samples[:, None], *(np.array([counts.min()]) for counts in (front.units, front.cases)))


def _regret(dev: pd.DataFrame, pick: dict, seed: int) -> dict[str, float]:
    """n_dev and regret of the choice among the settings that were measured on as many development cases as the best.

    The score is a harmonic mean of two means; a case counts by its first-order share of it at the chosen setting.
    """
    names, setting = np.unique(dev["settings"].to_numpy(dtype=object), return_inverse=True)
    pairs, case = np.unique(dev["pair"].to_numpy(), return_inverse=True)
    sides = np.full((len(SIDES), len(names), len(pairs)), np.nan)
    sides[:, setting, case] = dev[list(SIDES)].to_numpy(dtype="float64").T
    chosen = np.flatnonzero(names == pick["settings"])
    if not len(chosen) or np.isnan(sides[:, chosen[0]]).all(axis=1).any():
        return {"n_dev": 0, "regret": np.nan}
    sides = sides[:, :, ~np.isnan(sides[:, chosen[0]]).any(axis=0)]  # the cases at which the chosen one was measured
    n_dev = sides.shape[2]
    if n_dev < 2:
        return {"n_dev": n_dev, "regret": np.nan}
    others = np.flatnonzero(~np.isnan(sides).any(axis=(0, 2)))
    gen, spec = sides[:, [*chosen, *others[others != chosen[0]]]]
    g, s = gen[0].mean(), spec[0].mean()
    if g + s == 0:
        return {"n_dev": n_dev, "regret": np.nan}
    cases = np.ascontiguousarray((2 * (s**2 * gen + g**2 * spec) / (g + s) ** 2).T)
    rng = np.random.default_rng([seed, 79, *"/".join(map(str, (pick[name] for name in PLACE))).encode()])
    return {"n_dev": n_dev, "regret": selection_regret(cases, rng)}


def _at_specificity(
    means: pd.DataFrame, scored: pd.DataFrame, plain: Drawn, resampler: Resampler, one: Composite, least: float
) -> Sampled:
    """Generalisation and specificity of the setting that generalises most among those specific enough on dev.

    Where no setting is, nothing but no edit at all is that specific: generalisation 0, specificity 1, as far as the
    cases of the best setting say (`plain`).
    """
    order = means[means["specificity"] >= least].sort_values(
        ["generalisation", "specificity", "settings"], ascending=[False, False, True], kind="stable"
    )
    if order.empty:
        return replace(
            _sides(plain, one), value=np.array([0.0, 1.0]), samples=np.tile([0.0, 1.0], (resampler.draws, 1))
        )
    chosen = scored[scored["settings"] == order["settings"].iloc[0]]
    if chosen.empty:
        return Sampled.nothing(resampler.draws, len(SIDES))
    return _sides(resampler.draw(chosen), one)


def _less_control(
    prepared: _Prepared, place: tuple, best: pd.DataFrame, plain: Drawn, resampler: Resampler, scored_on: str
) -> Sampled:
    """E(best site) - E(the control of `place`) (1,), scores without placebo on the cases both have; the control's
    setting chosen on dev too. `plain`: of `best`, without placebo.

    Near 0, the curve is about editability and says nothing of where a concept is (Hase et al. 2023).
    """
    nothing = Sampled.nothing(resampler.draws, 1)
    if place not in prepared.scores:
        return nothing
    searched = prepared.dev if scored_on == "test" and place in prepared.dev else prepared.used
    means = searched[place].dropna(subset=["score"])
    if means.empty:
        return nothing
    order = means.sort_values(["score", "settings"], ascending=[False, True], kind="stable")
    control = prepared.scores[place]
    control = control[control["settings"] == order["settings"].iloc[0]]
    both = best[best["pair"].isin(control["pair"])]
    other = control[control["pair"].isin(both["pair"])]
    if both.empty:
        return nothing
    groups = plain if len(both) == len(best) else resampler.draw(both), resampler.draw(other)
    one, two = (group.metrics(prepared.chooser).at([METRICS.index("score")]) for group in groups)
    least = np.minimum(one.units, two.units), np.minimum(one.cases, two.cases)
    return Sampled(one.value - two.value, one.samples - two.samples, *least)
