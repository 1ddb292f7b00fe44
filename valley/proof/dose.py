"""Dose-response: how every score of a run answers to the dial that its ladder planted."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from valley.proof.trend import trend_table
from valley.scores import AnalysisPlan, available

SCORES = (
    "efficacy", "paraphrase", "cross_lingual", "cross_lingual_net", "neighbour", "same_subject", "generalisation",
    "specificity", "harmonic_net_all", "harmonic_raw_all",
)  # fmt: skip
Dial = Mapping[str, tuple[float, int]]  # rung -> value of the dial, seed


def planted_scores(rows: pd.DataFrame, dial: str, values: Dial, plan: AnalysisPlan) -> pd.DataFrame:
    """One line per rung and method: `rung`, `method`, the dial, `seed`, and a column per score of SCORES."""
    scored = available(rows, plan)
    table = scored.lines[["rung", "method"]].astype(str).reset_index(drop=True)
    table[dial] = [values[rung][0] for rung in table["rung"]]
    table["seed"] = [values[rung][1] for rung in table["rung"]]
    return table.assign(**{score: scored.of(score)["value"].to_numpy(float) for score in SCORES})


def dose_table(scores: pd.DataFrame, dial: str) -> pd.DataFrame:
    """`trend_table` of every method of `planted_scores`, with a column `method`."""
    parts = [trend_table(part, dial, SCORES).assign(method=method) for method, part in scores.groupby("method")]
    return _method_first(pd.concat(parts, ignore_index=True))


def crispness_dose_table(measured: pd.DataFrame, dial: str, values: Dial) -> pd.DataFrame:
    """The same of the crispness measures, means over concepts and layers; `method` is "crispness".

    Args:
        measured: the table of `ladder crispness`.
    """
    real = measured[measured["control"].fillna("none").eq("none") & measured["rung"].isin(values)]
    wide = real.pivot_table(index="rung", columns="measure", values="value").reset_index()
    wide = wide.assign(seed=[values[rung][1] for rung in wide["rung"]])
    wide[dial] = [values[rung][0] for rung in wide["rung"]]
    names = [str(name) for name in wide.columns if str(name).startswith("C_")]
    return _method_first(trend_table(wide, dial, names).assign(method="crispness"))


def _method_first(table: pd.DataFrame) -> pd.DataFrame:
    return table[["method", *(name for name in table.columns if name != "method")]]
