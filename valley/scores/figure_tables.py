"""Tables behind the page's figures: editability and transfer per model and per size, the best score at each depth."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import ALL, METRICS, NET, PROBE_KINDS, RUNG
from valley.scores.cases import UNIT, matching, net_of_siblings, unit_numbers, without_errors
from valley.scores.composites import chooser
from valley.scores.curve import Analysis
from valley.scores.resampling import Sampled, kind_mean
from valley.scores.settings import GROUP, group_means, needed, on_split, stratum
from valley.scores.sizes import ALL_SIZES, sizes
from valley.scores.strengths import AXES, strengths
from valley.statistics import size_of

COLUMNS = [axis.column for axis in AXES]
CONTEXT = "context"  # the site of an edit that is only text before the prompt: at no layer
POINT = [
    "ladder",
    "edit_kind",
    "direction",
    "role",
    "name",
    "seeds",
    "value",
    "low",
    "high",
    "generalisation",
    "specificity",
    "method",
    "n_known",
    *COLUMNS,
]
TENTHS = 10


def editability_points(analysis: Analysis) -> pd.DataFrame:
    """Score of the best setting of every model and size, per ladder and edit kind, "all" kinds among them.

    Columns: ladder, edit_kind, role ("model" or "size"), name, seeds (models behind it), value, low, high (95%),
    generalisation, specificity, method and n_known (of a model), and those of `valley.scores.strengths.AXES`. A size of
    one model has no line of role "model": the same point would be drawn twice. The interval of a size redraws
    its models too.
    """
    h = METRICS.index("score")
    curve = analysis.curve
    parts: dict[tuple, dict[str, Sampled]] = {}  # rung -> edit kind -> scores
    for (*rung, kind), drawn in analysis.drawn.items():
        parts.setdefault(tuple(rung), {})[kind] = drawn.metrics(analysis.ruler)
    lines, samples = [], []
    for line in curve[curve["score"].notna()].to_dict("records"):
        here = parts[tuple(line[k] for k in RUNG)]
        scores = kind_mean(list(here.values())) if line["edit_kind"] == ALL else here[line["edit_kind"]]
        keep = ("generalisation", "specificity", "method", "n_known")
        lines.append(
            {k: line[k] for k in (*RUNG, "edit_kind", *keep)}
            | {
                "direction": "",
                "units": scores.units[h],
                "cases": scores.cases[h],
                "value": line["score"],
                "low": line["score_low"],
                "high": line["score_high"],
            }
        )
        samples.append(scores.samples[:, h])
    return _with_sizes(lines, samples, analysis)


def kind_points(analysis: Analysis) -> pd.DataFrame:
    """Every probe kind of every model and size at the best setting, with the columns of `editability_points`;
    `direction` is the probe kind. Generalisation kinds are above placebo where the setting's own placebo ran."""
    lines, samples = [], []
    for line in analysis.curve.to_dict("records"):
        if line["edit_kind"] == ALL or line["reason"]:
            continue
        scores = analysis.drawn[*(line[k] for k in RUNG), line["edit_kind"]].kinds()
        about = {k: line[k] for k in (*RUNG, "edit_kind", "method", "n_known")}
        for i, kind in enumerate(PROBE_KINDS):
            if not np.isnan(scores.value[i]):
                lines.append(about | {"direction": kind} | _estimate(scores, i))
                samples.append(scores.samples[:, i])
    return _with_sizes(lines, samples, analysis)


def transfer_points(analysis: Analysis) -> pd.DataFrame:
    """Cross-lingual transfer net of the siblings' shift, per direction, with the columns of `editability_points`.

    The direction, such as "EN→FR", is from the language of the edit to that of the probe; net is the mean over cases of
    cross_lingual - (1 - neighbour) within the probe's language, floored at 0 like the score of the curve.
    """
    good = without_errors(analysis.rows, [*UNIT, "probe", "lang", "value"])
    number = unit_numbers(good).to_numpy()
    pairs = good[["probe", "lang", "value"]].assign(number=number, home=analysis.scores["edit_lang"].to_numpy()[number])
    pairs = pairs[pairs["probe"].isin(["cross_lingual", "neighbour"]) & (pairs["home"] != "")]
    pairs = pairs[pairs["lang"].astype("str") != pairs["home"].astype("str")]
    lines, samples = [], []
    for (start, goal), part in pairs.groupby(["home", "lang"], observed=True):
        net = net_of_siblings(part, ["number"]).rename("net").dropna()
        for line in analysis.curve[analysis.curve["method"] != ""].to_dict("records"):
            if line["edit_kind"] == ALL:
                continue
            used = _scored(analysis, line).join(net, how="inner")
            if len(used) < needed(analysis.options["min_known"], line["edit_kind"]):
                continue
            used = used.assign(**{NET: used["net"]})
            scores = analysis.resampler.draw(used).metrics(analysis.ruler)
            i = METRICS.index(NET)
            lines.append(
                {k: line[k] for k in (*RUNG, "edit_kind", "method")}
                | {"direction": f"{start}→{goal}".upper(), "n_known": len(used)}
                | _estimate(scores, i)
            )
            samples.append(scores.samples[:, i])
    return _with_sizes(lines, samples, analysis)


def _estimate(scores: Sampled, i: int) -> dict[str, float]:
    low, high = scores.bounds()
    about = {"units": scores.units[i], "cases": scores.cases[i]}
    return about | {"value": scores.value[i], "low": low[i], "high": high[i]}


def _scored(analysis: Analysis, line: dict) -> pd.DataFrame:
    """The case scores behind a line of the curve."""
    scores = matching(analysis.scores, {name: line[name] for name in GROUP})
    return stratum(on_split(scores, line["scored_on"]), analysis.options["which"])


def _with_sizes(lines: list[dict], samples: list[np.ndarray], analysis: Analysis) -> pd.DataFrame:
    if not lines:
        return pd.DataFrame(columns=POINT)
    models = pd.DataFrame(lines).reindex(
        columns=[*RUNG, "units", "cases", *(name for name in POINT[1:13] if name not in ("role", "name", "seeds"))]
    )
    models = models.merge(strengths(analysis.rows).drop(columns="model"), on=list(RUNG), how="left")
    models = models.assign(size=models["rung"].map(size_of))
    plain = models.assign(method=models["direction"], reason="")
    drawn = np.stack(samples)
    if not drawn.shape[1]:  # no bootstrap was requested
        drawn = np.full((len(models), 1), np.nan)
    means = sizes(plain, models["value"].to_numpy(dtype="float64"), drawn, COLUMNS)
    means = means[means["size"] != ALL_SIZES].rename(columns={"method": "direction", "size": "name"})
    key = ["ladder", "edit_kind", "direction", "size"]
    about = models.groupby(key, sort=False).agg(
        {"generalisation": "mean", "specificity": "mean", "n_known": "max", "method": _joined}
    )
    means = means.merge(about.reset_index().rename(columns={"size": "name"}), on=[*key[:3], "name"])
    alone = models.groupby(key)["rung"].transform("size") == 1
    single = means["seeds"] == 1
    exact = models[alone].set_index(key)
    place = pd.MultiIndex.from_frame(means.loc[single, [*key[:3], "name"]])
    for name in ("low", "high"):  # one model: the curve's own interval, which knows how many cases there are
        means.loc[single, name] = exact[name].reindex(place).to_numpy()
    means.loc[single, "name"] = exact["rung"].reindex(place).to_numpy()
    seeds = models[~alone]
    seeds = seeds.assign(role="model", name=seeds["rung"], seeds=1)
    return pd.concat([means.assign(role="size"), seeds], ignore_index=True).reindex(columns=POINT)


def _joined(names: Iterable[str]) -> str:
    return "+".join(dict.fromkeys(names))


def depth_scores(analysis: Analysis, plane: pd.DataFrame) -> pd.DataFrame:
    """The best setting at each depth of each rung: ladder, rung, edit_kind, depth (tenth of the layers), value, n,
    method, settings.

    Args:
        plane: `valley.scores.points.points(analysis)`. Within a depth the setting is chosen on dev cases where there
            are any.
    """
    usable = stratum(analysis.scores, analysis.options["which"])
    dev = group_means(usable[usable["split"] == "dev"], chooser(analysis.options["metric"]))[[*GROUP, "score"]]
    table = plane[~plane["control"]].dropna(subset=["depth"])
    table = table[table["site"] != CONTEXT]
    table = table.merge(dev.rename(columns={"score": "dev"}), on=list(GROUP), how="left")
    tenth = np.minimum((table["depth"] * TENTHS + 1e-9).astype("float64"), TENTHS - 1).astype(int)
    table = table.assign(tenth=tenth, value=table["score"])
    order = table.sort_values(["dev", "settings"], ascending=[False, True], kind="stable", na_position="last")
    best = order.groupby(["ladder", "rung_index", "rung", "edit_kind", "tenth"], sort=True).first().reset_index()
    low, high = best["tenth"] / TENTHS, (best["tenth"] + 1) / TENTHS
    best["depth"] = [f"{a:.1f}–{b:.1f}" for a, b in zip(low, high, strict=True)]
    return best[["ladder", "rung", "edit_kind", "depth", "value", "n", "method", "settings"]]
