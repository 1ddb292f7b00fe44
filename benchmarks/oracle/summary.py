"""The oracle's table in short: a line per rung, method, edit kind and scope, with intervals over the edits."""

from __future__ import annotations

import numpy as np

from benchmarks.text import aligned
from editing.lazy import pandas as pd
from valley.statistics import draw_weights, weighted_means

GROUP = ["rung", "method", "settings", "site", "lookup", "edit_kind", "scope"]
SHOWN = ("score", "score_moved", "kept", "news_edited", "news_oracle", "news_other_language_edited",
         "news_other_language_oracle")  # fmt: skip
DRAWS = 1000


def summary(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Per group the mean of each score over the measurable edits, the number of both, and a 95% interval of the score.

    The interval is a bootstrap over relations and the edits inside them.
    """
    records = []
    for key, part in table.groupby(GROUP, sort=False):
        good = part[part["score"].notna()]
        record = dict(zip(GROUP, key, strict=True)) | {"edits": len(part), "measurable": len(good)}
        record |= {name: float(part[name].mean()) for name in SHOWN}
        weights = draw_weights(good["relation"].tolist(), DRAWS, [seed])
        means = weighted_means(weights, good[["score"]].to_numpy(float))[:, 0] if len(good) > 1 else np.full(1, np.nan)
        low, high = np.nanquantile(means, [0.025, 0.975]) if np.isfinite(means).any() else (np.nan, np.nan)
        records.append(record | {"score_low": float(low), "score_high": float(high)})
    return pd.DataFrame(records)


def format_oracle(lines: pd.DataFrame) -> str:
    """The summary as text. Columns: score with its interval, on moved probes, kept, P(new answer) of edit / oracle."""
    header = (
        "rung",
        "method",
        "site",
        "kind",
        "scope",
        "edits",
        "oracle score",
        "moved",
        "kept",
        "says new",
        "other language",
    )
    body = []
    for line in lines.to_dict("records"):
        interval = f"{_two(line['score'])} [{_two(line['score_low'])}, {_two(line['score_high'])}]"
        news = f"{_two(line['news_edited'])} / {_two(line['news_oracle'])}"
        other = f"{_two(line['news_other_language_edited'])} / {_two(line['news_other_language_oracle'])}"
        count = f"{line['measurable']}/{line['edits']}"
        body.append(
            (line["rung"], line["method"], line["site"], line["edit_kind"], line["scope"], count, interval,
             _two(line["score_moved"]), _two(line["kept"]), news, other)
        )  # fmt: skip
    return "\n".join(aligned([header, *body]))


def _two(value: float) -> str:
    return "n/a" if value != value else f"{value:.2f}"
