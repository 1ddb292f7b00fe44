"""Dose-response: how every score of a run answers to the dial that its ladder planted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from editing.lazy import pandas as pd
from valley.proof.trend import trend_table
from valley.scores import AnalysisPlan, available

SCORES = (
    "efficacy", "paraphrase", "cross_lingual", "cross_lingual_net", "neighbour", "same_subject", "generalisation",
    "specificity", "harmonic_net_all", "harmonic_raw_all",
)  # fmt: skip
Dial = Mapping[str, tuple[float, int]]  # rung -> value of the dial, seed


def planted_scores(rows: pd.DataFrame, dial: str, values: Dial, plan: AnalysisPlan) -> pd.DataFrame:
    """One line per rung, edit kind and method: `rung`, `edit_kind`, `method`, the dial, `seed`, and a column per score
    of SCORES."""
    scored = available(rows, plan)
    table = scored.lines[["rung", "edit_kind", "method"]].astype(str).reset_index(drop=True)
    table[dial] = [values[rung][0] for rung in table["rung"]]
    table["seed"] = [values[rung][1] for rung in table["rung"]]
    return table.assign(**{score: scored.of(score)["value"].to_numpy(float) for score in SCORES})


def dose_table(scores: pd.DataFrame, dial: str) -> pd.DataFrame:
    """`trend_table` of every edit kind and method of `planted_scores`, with these two columns."""
    parts = [
        trend_table(part, dial, SCORES).assign(edit_kind=str(kind), method=str(method))
        for (kind, method), part in scores.groupby(["edit_kind", "method"])
    ]
    return _names_first(pd.concat(parts, ignore_index=True))


def across_languages(measured: pd.DataFrame) -> pd.DataFrame:
    """The lines of a readings summary that compare two languages."""
    return measured[measured["lang"].str.contains("-", na=False)]


def reading_dose_table(measured: pd.DataFrame, dial: str, values: Dial) -> pd.DataFrame:
    """The same of the readings that compare two languages; `method` is the reading, `score` its measure, `edit_kind`
    empty.

    `holm` is `page_p` corrected for the number of measures (Holm 1979).

    Args:
        measured: what `valley read LADDER` prints (`benchmarks.readings.summary`): per rung, reading, measure and
            language the layer where the mean over relations is highest.
    """
    across = across_languages(measured)
    across = across[across["rung"].isin(values)]
    wide = across.pivot_table(index="rung", columns=["reading", "measure"], values="value")
    seeds = [values[rung][1] for rung in wide.index]
    levels = [values[rung][0] for rung in wide.index]
    parts = []
    for at, (reading, measure) in enumerate(wide.columns.to_flat_index()):
        lines = pd.DataFrame({dial: levels, "seed": seeds, measure: wide.iloc[:, at].to_numpy(float)})
        parts.append(trend_table(lines, dial, [measure]).assign(edit_kind="", method=reading))
    table = _names_first(pd.concat(parts, ignore_index=True))
    return table.assign(holm=_holm(table["page_p"].to_numpy(float)))


def _holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected by Holm's rule; NaN stays NaN and does not count."""
    corrected = np.full(len(p), np.nan)
    order = [at for at in np.argsort(p) if p[at] == p[at]]
    largest = 0.0
    for turn, at in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - turn) * p[at]))
        corrected[at] = largest
    return corrected


def _names_first(table: pd.DataFrame) -> pd.DataFrame:
    names = ["edit_kind", "method"]
    return table[[*names, *(name for name in table.columns if name not in names)]]
