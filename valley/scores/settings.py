"""How editable a rung is: mean scores per setting, the best setting chosen on dev, the Pareto front, intervals.

All functions take a table and give a table. A *group* is one rung x edit kind x method x setting.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pandas as pd

from valley.rows import (
    ALL_DEV,
    CASE,
    CONTROLS,
    METRICS,
    NET,
    PLACEBO,
    PROBE_KINDS,
    RUNG,
    SETTING,
    STRATA,
    RowsError,
)
from valley.scores.cases import coded, harmonic
from valley.scores.composites import CASE_COLUMNS, Means, composites, failed_gates
from valley.statistics import draw_weights, t_interval, weighted_means

GROUP: tuple[str, ...] = (*RUNG, "edit_kind", *SETTING)
BASE = (*PROBE_KINDS, NET, "generalisation", "specificity")  # means of case scores; the other METRICS follow from them
PARTS = (*PROBE_KINDS, *CASE_COLUMNS)  # what composites are made of
COMPOSITES = tuple(one.name for one in composites())


def stratum(scores: pd.DataFrame, which: str) -> pd.DataFrame:
    """The cases of a stratum: known at their rung, known at every rung, or all.

    Raises:
        RowsError: no such stratum.
    """
    if which not in STRATA:
        raise RowsError(f"no stratum {which!r}; use one of {', '.join(STRATA)}")
    return scores if which == "all" else scores[scores[which]]


def group_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean of each case score per group, with `n` cases and the harmonic mean of the two summary means."""
    grouped = scores.groupby(list(GROUP), observed=True)
    means = grouped[[*BASE, *(name for name in CASE_COLUMNS if name in scores)]].mean()
    means[NET] = means[NET].clip(lower=0)
    means["n"] = grouped.size()
    means["harmonic_mean"] = harmonic(means["generalisation"].to_numpy(), means["specificity"].to_numpy())
    return means.reset_index()


def candidates(scores: pd.DataFrame, tried: pd.DataFrame) -> pd.DataFrame:
    """Per ladder, rung and edit kind: how many settings were tried, and which split scores them.

    When no rung of a ladder tried more than one setting of an edit kind nothing is chosen, so all cases count.
    Otherwise every rung of that ladder and kind is scored on test, so that rungs are compared on the same cases.

    Args:
        scores: case scores.
        tried: rows (RUNG, edit_kind, SETTING) of everything tried, failed cells too.
    """
    tried = tried[~tried["method"].isin(CONTROLS) & (tried["method"] != "")]
    settings = tried.drop_duplicates(list(GROUP))
    count = settings.groupby([*RUNG, "edit_kind"], observed=True).size().rename("n_settings").reset_index()
    most = count.groupby(["ladder", "edit_kind"])["n_settings"].transform("max")
    return count.assign(scored_on=np.where(most > 1, "test", "all"))


def choose(scores: pd.DataFrame, tried: pd.DataFrame, which: str = "known") -> pd.DataFrame:
    """The best setting of each rung and edit kind: highest harmonic mean on the dev cases of the stratum.

    Where the stratum has no measurable dev case, all dev cases choose, and `chosen_on` says so; what is scored stays
    the stratum. A setting measured on fewer than half as many dev cases as the best-covered one is not eligible, nor,
    where any was measured on
    test cases, one that was not: a search by halving has dropped it. Ties go to the higher generalisation, then to the
    name. Controls (placebo) are never chosen.

    Returns:
        one line per rung and edit kind: SETTING (empty when none could be chosen), n_settings, chosen_on, scored_on,
        dev_harmonic_mean, reason.
    """
    plan = candidates(scores, tried)
    strata = [name for name in STRATA if name in scores]
    scores = coded(scores[[*GROUP, "split", *strata, *BASE]])
    usable = stratum(scores, which)
    usable = usable[~usable["method"].isin(CONTROLS)]
    dev = group_means(usable[usable["split"] == "dev"])
    anyone = scores[~scores["method"].isin(CONTROLS)]
    whole_dev = group_means(anyone[anyone["split"] == "dev"])
    finalists = anyone.loc[anyone["split"] == "test", list(GROUP)].drop_duplicates()
    out = []
    for row in plan.to_dict("records"):
        key = {name: row[name] for name in (*RUNG, "edit_kind")}
        base = {**row, "method": "", "settings": "", "chosen_on": "", "dev_harmonic_mean": np.nan, "reason": ""}
        if row["scored_on"] == "all" or row["n_settings"] == 1:
            only = matching(anyone, key)
            if only.empty:
                base["reason"] = "every edit failed"
            else:
                base |= {**only.iloc[0][list(SETTING)].to_dict(), "chosen_on": "only setting"}
            out.append(base)
            continue
        here, chosen_on = matching(dev, key).dropna(subset=["harmonic_mean"]), "dev"
        if here.empty:
            here, chosen_on = matching(whole_dev, key).dropna(subset=["harmonic_mean"]), ALL_DEV
        tested = here.merge(finalists, on=list(GROUP))
        here = tested if len(tested) else here
        here = here[here["n"] * 2 >= here["n"].max()] if len(here) else here
        if here.empty:
            base["reason"] = f"no measurable dev case to choose among {row['n_settings']} settings"
        else:
            order = ["harmonic_mean", "generalisation", *SETTING]
            best = here.sort_values(order, ascending=[False, False, True, True], kind="stable").iloc[0]
            base |= {
                **best[list(SETTING)].to_dict(),
                "chosen_on": chosen_on,
                "dev_harmonic_mean": best["harmonic_mean"],
            }
        out.append(base)
    return pd.DataFrame(out, columns=[*RUNG, "edit_kind", *SETTING, "n_settings", "chosen_on", "scored_on",
                                      "dev_harmonic_mean", "reason"])  # fmt: skip


def matching(frame: pd.DataFrame, key: dict) -> pd.DataFrame:
    keep = np.ones(len(frame), dtype=bool)
    for name, value in key.items():
        keep &= (frame[name] == value).to_numpy(dtype=bool)
    return frame[keep]


def on_split(scores: pd.DataFrame, scored_on: str) -> pd.DataFrame:
    return scores if scored_on == "all" else scores[scores["split"] == scored_on]


def pareto(points: pd.DataFrame) -> pd.DataFrame:
    """The lines of `points` that no other line beats in both generalisation and specificity, by rising specificity."""
    points = points.dropna(subset=["generalisation", "specificity"])
    order = points.sort_values(["specificity", "generalisation", *SETTING], ascending=[False, False, True, True])
    best, keep = -np.inf, []
    for index, value in zip(order.index, order["generalisation"], strict=True):
        if value > best:
            best = value
            keep.append(index)
    return points.loc[keep[::-1]]


class Resampler:
    """Bootstrap weights of every case of a run, drawn once, so that all rungs and settings see the same draws.

    Edit kinds are resampled each on their own (their cases are never exchanged), cases within relations.
    """

    def __init__(self, scores: pd.DataFrame, draws: int, seed: int) -> None:
        if draws < 0:
            raise RowsError(f"draws is {draws}; give 0 (no intervals) or more")
        self.draws = draws
        parts, pairs = [], []
        cases = scores.drop_duplicates("pair").sort_values(["ladder", "edit_kind", "cluster", *CASE], kind="stable")
        for (ladder, kind), part in cases.groupby(["ladder", "edit_kind"], observed=True):
            pairs.append(part["pair"].to_numpy())
            parts.append(draw_weights(part["cluster"].tolist(), draws, [seed, *f"{ladder}/{kind}".encode()]))
        order = np.argsort(np.concatenate(pairs)) if pairs else np.zeros(0, dtype=int)
        self._pairs = np.concatenate(pairs)[order] if pairs else np.zeros(0, dtype=int)
        self._weights = (np.concatenate(parts, axis=1) if parts else np.zeros((draws, 0)))[:, order]

    def weights(self, part: pd.DataFrame) -> np.ndarray:
        """(draws, len(part)): how often each case of `part`, lines of the scores that this was made of, is drawn."""
        return self._weights[:, np.searchsorted(self._pairs, part["pair"].to_numpy())]

    def metrics(self, part: pd.DataFrame, placebo: pd.DataFrame | None = None) -> tuple[np.ndarray, np.ndarray]:
        """METRICS of one group: the estimates (k,) and their bootstrap samples (draws, k)."""
        values, noise = (self._means(one, columns) for one, columns in ((part, BASE), (placebo, ("generalisation",))))
        assert values is not None
        point, samples = (derived(v, n) for v, n in zip(values, noise or (None, None), strict=True))
        return point[0], samples

    def composites(self, part: pd.DataFrame, placebo: pd.DataFrame | None = None) -> tuple[np.ndarray, np.ndarray]:
        """COMPOSITES of one group: the estimates (k,) and their bootstrap samples (draws, k). 0 where a gate fails."""
        values, noise = self._means(part, PARTS), self._means(placebo, PARTS)
        assert values is not None
        gated = bool(failed_gates(_named(values[0], None if noise is None else noise[0])))
        out = []
        for at, weighted in enumerate(values):
            means = _named(weighted, None if noise is None else noise[at])
            made = np.column_stack([one(means) for one in composites()])
            out.append(np.where(np.isnan(made), np.nan, 0.0) if gated else made)
        return out[0][0], out[1]

    def _means(self, part: pd.DataFrame | None, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """(1, k) means and (draws, k) bootstrapped means of `columns`; None without cases."""
        if part is None or part.empty:
            return None
        values = part[list(columns)].to_numpy(dtype="float64")
        return weighted_means(np.ones((1, len(part))), values), weighted_means(self.weights(part), values)


def _named(means: np.ndarray, placebo: np.ndarray | None) -> Means:
    named = [{} if one is None else {name: one[:, at] for at, name in enumerate(PARTS)} for one in (means, placebo)]
    return Means(*named)


def composites_of(means: pd.DataFrame) -> np.ndarray:
    """(lines, len(COMPOSITES)) of lines that `group_means` gave, without placebo: what is above placebo is NaN."""
    values = means.reindex(columns=list(PARTS)).to_numpy(dtype="float64")
    named = _named(values, None)
    return np.column_stack([one(named) for one in composites()])


def derived(means: np.ndarray, placebo: np.ndarray | None) -> np.ndarray:
    """(n, len(BASE)) means -> (n, len(METRICS)): floor the net transfer, add harmonic means and placebo correction."""
    means = means.copy()
    means[:, BASE.index(NET)] = np.maximum(means[:, BASE.index(NET)], 0)
    gen, spec = means[:, BASE.index("generalisation")], means[:, BASE.index("specificity")]
    net = np.full_like(gen, np.nan) if placebo is None else above_placebo(gen, placebo[:, 0])
    return np.column_stack([means, harmonic(gen, spec), net, harmonic(net, spec)])


def above_placebo(score: np.ndarray, placebo: np.ndarray) -> np.ndarray:
    """g = (A - P) / (1 - P); NaN where the placebo leaves no room (P = 1). May be negative."""
    score, placebo = np.asarray(score, float), np.asarray(placebo, float)
    room = 1 - placebo
    return np.where(room > 1e-12, (score - placebo) / np.where(room > 1e-12, room, 1.0), np.nan)


def placebo_of(scores: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame | None:
    """The placebo edits of the cases in `part`, which are of one rung, by the method and setting of `part`.

    Another method's placebo says nothing: IKE leaks otherwise than ROME. None where no placebo of them ran.
    """
    if part.empty:
        return None
    here = (scores["pair"].isin(part["pair"]) & scores["method"].eq(PLACEBO)).to_numpy()
    for name in RUNG:
        here = here & scores[name].eq(part[name].iloc[0]).to_numpy()
    rows = scores[here]
    method, settings = str(part["method"].iloc[0]), str(part["settings"].iloc[0])
    rows = rows[rows["settings"].map(lambda own: is_placebo_of(str(own), method, settings)).to_numpy(dtype=bool)]
    columns = [name for name in ("generalisation", *PARTS) if name in rows]
    return None if rows.empty else rows.groupby("pair")[columns].mean().reset_index()


@cache
def is_placebo_of(placebo: str, method: str, settings: str) -> bool:
    """Whether settings of the control `placebo` (JSON) name this inner method with these settings (JSON)."""
    own, other = json.loads(placebo or "{}"), json.loads(settings or "{}")
    if own.get("inner") != method:
        return False
    stated = {name: own[name] for name in ("site", "lookup", "depth") if name in own}
    stated |= json.loads(own.get("options") or "{}")
    return all(other.get(name) == value for name, value in stated.items())


def kind_mean(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Unweighted mean over edit kinds of (estimates, samples); harmonic means are taken of the mean scores.

    A metric measured for some kinds only is the mean of those; generalisation and specificity need every kind.
    """
    mean: Callable[[list[np.ndarray]], np.ndarray] = lambda arrays: _nanmean(np.stack(arrays))  # noqa: E731
    strict = [METRICS.index(m) for m in ("generalisation", "specificity", "generalisation_net")]
    out = []
    for arrays in ([p for p, _ in parts], [s for _, s in parts]):
        total = mean(arrays)
        total[..., strict] = np.stack(arrays)[..., strict].mean(axis=0)
        for name, source in (("harmonic_mean", "generalisation"), ("harmonic_mean_net", "generalisation_net")):
            g, s = total[..., METRICS.index(source)], total[..., METRICS.index("specificity")]
            total[..., METRICS.index(name)] = harmonic(g, s)
        out.append(total)
    return out[0], out[1]


def _nanmean(stack: np.ndarray) -> np.ndarray:
    present = ~np.isnan(stack)
    count = present.sum(axis=0)
    total = np.where(present, stack, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def units_of(part: pd.DataFrame) -> int:
    """What the bootstrap of these cases draws: their relations, or the cases where all are of one relation."""
    relations = part["cluster"].nunique()
    return relations if relations > 1 else len(part)


def bounds(samples: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
    """95% interval of each metric, by Student's t over the units that were drawn; NaN from fewer than two."""
    with np.errstate(invalid="ignore"):
        centre = np.nansum(samples, axis=0) / np.maximum(np.isfinite(samples).sum(axis=0), 1)
    low, high = t_interval(centre, samples, units)
    return np.clip(low, -1, 1), np.clip(high, -1, 1)


def measured(part: pd.DataFrame) -> tuple[str, ...]:
    """The probe kinds with at least one value in `part`, in the order of PROBE_KINDS."""
    return tuple(kind for kind in PROBE_KINDS if part[kind].notna().any())
