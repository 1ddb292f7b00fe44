"""The tables of the proof, each from one run folder: oracle scores, composites, dose-response, verdicts, carry."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.grown import grow, is_grown, planted_dial, read_card
from benchmarks.oracle import FILE
from valley.proof import Choice, choose_composite, dose_table, edits_with_composites, planted_scores
from valley.rows import read_run
from valley.scores import AnalysisPlan, available, case_scores, with_options
from valley.statistics import draw_weights, weighted_means
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


def composites(runs: Iterable[Path]) -> Choice:
    """Which composite ranks as the oracle does, over the edits of these runs."""
    parts = []
    for run in runs:
        oracle = pd.read_parquet(run / FILE)
        parts.append(edits_with_composites(case_scores(read_run(run, doses=True)), oracle))
    return choose_composite(pd.concat(parts, ignore_index=True))


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

    One line per model that has been trained: model, carry, chance, seen (recall of what was told).
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


MEASURES = ("C_key", "C_align", "C_patch", "C_dir", "align_rank", "patch_nats")


def crispness(path: Path) -> pd.DataFrame:
    """Crispness of models along a dial: one line per model, means over concepts and layers; carry as in `carries`."""
    measured = pd.read_csv(path)
    real = measured[measured["control"].fillna("none").eq("none") & measured["measure"].isin(MEASURES)]
    table = real.pivot_table(index=["rung", "model"], columns="measure", values="value", sort=False).reset_index()
    return table.merge(carries(table["model"])[["model", "carry"]], on="model", how="left").drop(columns="model")


def _mean(recall: dict, kind: str, field: str) -> float:
    return float(np.mean([entry[field] for entry in recall[kind].values()]))
