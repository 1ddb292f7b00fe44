"""The tables of the proof, each from one run folder: oracle scores, composites, dose-response, verdicts, carry."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.grown import grow, is_grown, planted_dial, read_card
from benchmarks.oracle import FILE
from benchmarks.readings import summary
from editing.lazy import pandas as pd
from valley.proof import (
    Choice,
    Trend,
    across_languages,
    choose_composite,
    dose_table,
    edits_with_composites,
    planted_scores,
    reading_dose_table,
    trend,
)
from valley.rows import PLACEBO, read_run, readings_of
from valley.scores import AnalysisPlan, available, case_scores, with_options
from valley.statistics import draw_weights, size_of, weighted_means
from valley.verdicts import Shapes, shapes

DRAWS = 1000
COLUMNS = ("score", "score_moved", "kept", "news_edited", "news_oracle", "news_other_language_edited",
           "news_other_language_oracle")  # fmt: skip


def oracle_table(run: Path) -> pd.DataFrame:
    """Per edit kind, method and scope: means over the edits of all rungs, and a 95% interval of the score.

    The interval is a bootstrap over relations and the edits inside them; an edit is the same one at every rung.
    """
    table = pd.read_parquet(run / FILE)
    lines = []
    for (kind, method, scope), part in table.groupby(["edit_kind", "method", "scope"]):
        by_case = part.groupby(["relation", "case"])["score"].mean().dropna().reset_index()
        low = high = np.nan
        if len(by_case) > 1:
            weights = draw_weights(by_case["relation"].tolist(), DRAWS, [0])
            low, high = np.nanquantile(
                weighted_means(weights, by_case[["score"]].to_numpy(float))[:, 0], [0.025, 0.975]
            )
        line = {"edit_kind": kind, "method": method, "scope": scope, "edits": part["case"].nunique()}
        line |= {"rungs": part["rung"].nunique(), "measurable": float(part["score"].notna().mean())}
        lines.append(line | {name: float(part[name].mean()) for name in COLUMNS} | {"low": low, "high": high})
    return pd.DataFrame(lines)


def oracle_by_size(run: Path) -> pd.DataFrame:
    """Mean oracle score (both languages) per edit kind and method, a column per size in the order of the ladder."""
    table = pd.read_parquet(run / FILE)
    table = table[table["scope"] == "both"].assign(size=table["rung"].map(size_of))
    means = table.pivot_table(index=["edit_kind", "method"], columns="size", values="score", sort=False)
    return means.reset_index().rename(columns={"edit_kind": "kind"}).rename_axis(columns=None)


def least_recall(run: Path) -> float:
    """The smallest recall of stated facts among the models of a run."""
    models = pd.read_parquet(run / FILE, columns=["model"])["model"].unique()
    return float(carries(models)["seen"].min())


def drawn_where_rome_edits(run: Path) -> tuple[int, int]:
    """In how many models, and of how many, `random_layer` drew the block that ROME edits anyway."""
    rows = read_run(run, ["rung", "method", "depth", "edit_kind"])
    depths = rows[rows["edit_kind"] == "fact"].groupby(["rung", "method"], observed=True)["depth"].median().unstack()
    if not {"rome", "random_layer"} <= set(depths):
        return 0, 0
    both = depths[["rome", "random_layer"]].dropna()
    return int((both["rome"] == both["random_layer"]).sum()), len(both)


def composites(run: Path) -> Choice:
    """Which composite ranks as the oracle does, over the edits of a run."""
    return choose_composite(edits_with_composites(case_scores(read_run(run, doses=True)), pd.read_parquet(run / FILE)))


def carried_by_twins(run: Path) -> tuple[pd.DataFrame, Trend]:
    """What models retrained in English say in French along a dial (scope `one`), and what edits make them say.

    Returns:
        One line per value of the dial: the dial, `retrained`, `edited` (mean over methods), means over seeds and edits,
        `sd` of `retrained` between seeds. And the trend of `retrained`.
    """
    table = pd.read_parquet(run / FILE)
    table = table[(table["scope"] == "one") & (table["method"] != PLACEBO)]
    dial, values = planted_dial(_models(table))
    columns = {"news_other_language_oracle": "retrained", "news_other_language_edited": "edited"}
    models = table.groupby("rung")[list(columns)].mean().rename(columns=columns).reset_index()
    models[dial] = [values[rung][0] for rung in models["rung"]]
    models["seed"] = [values[rung][1] for rung in models["rung"]]
    by_level = models.groupby(dial)
    means = by_level[["retrained", "edited"]].mean().assign(sd=by_level["retrained"].std())
    return means.reset_index(), trend(models, dial, "retrained")


def readings_along(run: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The readings of a planted ladder that compare languages: a line per model and measure, and their trends."""
    measured = readings_of(run)
    assert measured is not None  # the caller looked
    dial, values = planted_dial(_models(measured))
    lines = summary(measured)
    across = across_languages(lines)
    shown = across.assign(dial=[values[rung][0] for rung in across["rung"]])
    return shown[["reading", "measure", "dial", "value"]], reading_dose_table(lines, dial, values)


class Planted(NamedTuple):
    """A planted ladder: its dial, value and seed of each rung, scores by rung and method, their trends."""

    dial: str
    values: dict[str, tuple[float, int]]
    scores: pd.DataFrame
    trends: pd.DataFrame


def planted(run: Path, plan: AnalysisPlan) -> Planted:
    """What the scores of a run over a planted ladder do along its dial."""
    rows = read_run(run)
    models = rows[["rung", "model"]].drop_duplicates().set_index("rung")["model"]
    dial, values = planted_dial({str(rung): str(model) for rung, model in models.items()})
    scores = planted_scores(rows, dial, values, plan)
    trends = dose_table(scores, dial)
    return Planted(dial, values, scores.merge(models.rename("model"), left_on="rung", right_index=True), trends)


def curve_and_verdict(run: Path) -> tuple[pd.DataFrame, Shapes]:
    """Of a planted ladder the metric of its analysis plan at every rung and method, and the verdicts on it."""
    plan = with_options(run)
    scored = available(read_run(run), plan)
    columns = ["rung", "rung_index", "size", "method", "value", "low", "high"]
    return scored.of(plan.metric)[columns], shapes(scored, plan)


def carries(models: Iterable[str]) -> pd.DataFrame:
    """How much models say in one language of what only the other reported: mean recall of such facts in both languages.

    One line per model that has been trained: model, carry, chance, seen (recall of what was stated).
    """
    lines = []
    for model in dict.fromkeys(models):
        name = model.removeprefix("grown:")
        if is_grown(name):
            recall = read_card(grow(name, progress=False))["recall"]
            line = {"model": model, "carry": _mean(recall, "language", "recall")}
            lines.append(
                line | {"chance": _mean(recall, "language", "chance"), "seen": _mean(recall, "seen", "recall")}
            )
    return pd.DataFrame(lines)


def _models(table: pd.DataFrame) -> dict[str, str]:
    """Rung -> model reference."""
    return {str(rung): str(model) for rung, model in zip(table["rung"], table["model"], strict=True)}


def _mean(recall: dict, kind: str, field: str) -> float:
    return float(np.mean([entry[field] for entry in recall[kind].values()]))
