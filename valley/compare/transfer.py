"""What crosses from the language of an edit to another: a line per pair of languages and spelling, net of siblings.

A case counts as spelt alike in a pair where both names are one text in the two languages (case and accents aside): the
subject's and the new answer's. There transfer may be no more than the same tokens. It is mixed where one of them is.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import pandas as pd

from valley.rows import CONTROLS, RUNG, SETTING, RowsError
from valley.statistics import t_interval, unit_weights, weighted_means

ALIKE, MIXED, DIFFERENT, EVERY = "alike", "mixed", "different", "all"
DRAWS = 1000
NEEDED = (
    *RUNG, *SETTING, "edit_kind", "edit_lang", "case", "subject", "about", "answer", "probe", "probe_index", "lang",
    "value", "hit_before", "error", "known", "split",
)  # fmt: skip


def plain(text: str) -> str:
    """Lower case, no accents: for comparing names."""
    flat = unicodedata.normalize("NFD", text.casefold())
    return "".join(char for char in flat if not unicodedata.combining(char))


def transfer_table(rows: pd.DataFrame, known_only: bool = True, seed: int = 0) -> pd.DataFrame:
    """Per rung, method, setting, language of the edit and of the question, and spelling: scores with 95% intervals.

    Columns: n (cases), cross_lingual, net (cross_lingual - (1 - neighbour), both in that language, per case) with
    net_low and net_high, before (share of the questions that the unedited model answers with the new answer).

    Args:
        rows: of one run or of several; columns NEEDED.
        known_only: only edits whose fact the unedited model knew.

    Raises:
        RowsError: no cross-lingual rows.
    """
    good = rows[(rows["error"] == "") & ~rows["method"].isin(CONTROLS)]
    if known_only:
        good = good[good["known"].fillna(False).astype(bool)]
    keys = [*RUNG, *SETTING, "edit_lang", "case"]
    asked = good[good["probe"] == "cross_lingual"]
    if asked.empty:
        raise RowsError("no cross-lingual answers of known edits in these rows; run bench over languages, or use --all")
    target = good[good["probe"] == "efficacy"].sort_values("probe_index").groupby(keys)["answer"].first()
    per_case = asked.groupby([*keys, "lang"]).agg(
        cross_lingual=("value", "mean"),
        before=("hit_before", "mean"),
        about=("about", "first"),
        answer=("answer", "first"),
        subject=("subject", "first"),
    )
    kept = good[good["probe"] == "neighbour"].groupby([*keys, "lang"])["value"].mean()
    per_case["net"] = per_case["cross_lingual"] - (1 - kept.reindex(per_case.index))
    per_case = per_case.reset_index().merge(target.rename("target").reset_index(), on=keys, how="left")
    same = [
        (plain(str(a)) == plain(str(b))) + (plain(str(c)) == plain(str(d)))
        for a, b, c, d in per_case[["about", "subject", "answer", "target"]].itertuples(index=False)
    ]
    per_case["spelling"] = np.array([DIFFERENT, MIXED, ALIKE])[same]
    by = [*RUNG, *SETTING, "edit_lang", "lang"]
    lines = []
    for key, part in per_case.groupby(by, sort=False):
        for spelling in (EVERY, ALIKE, MIXED, DIFFERENT):
            some = part if spelling == EVERY else part[part["spelling"] == spelling]
            if len(some):
                lines.append(dict(zip(by, key, strict=True)) | {"spelling": spelling} | _line(some, seed))
    return pd.DataFrame(lines)


def _line(part: pd.DataFrame, seed: int) -> dict[str, float]:
    values = part[["net"]].to_numpy(float)
    samples = weighted_means(unit_weights(len(part), DRAWS, np.random.default_rng(seed)), values)
    centre = np.array([np.nanmean(values)]) if np.isfinite(values).any() else np.array([np.nan])
    low, high = t_interval(centre, samples, int(np.isfinite(values).sum()))
    return {
        "n": len(part),
        "cross_lingual": float(part["cross_lingual"].mean()),
        "before": float(part["before"].mean()),
        "net": float(centre[0]),
        "net_low": float(low[0]),
        "net_high": float(high[0]),
    }


def format_transfer(table: pd.DataFrame) -> str:
    """The table for a terminal."""
    width = max(20, 1 + max(map(len, table["rung"]), default=0))
    places = f"{'method':<10}{'from':<5}{'to':<5}{'spelt':<11}"
    lines = [f"{'rung':<{width}}{places}{'n':>4}{'cross':>8}{'before':>8}  net of siblings"]
    for row in table.to_dict("records"):
        net = "n/a" if np.isnan(row["net"]) else f"{row['net']:.2f} [{row['net_low']:.2f}, {row['net_high']:.2f}]"
        lines.append(
            f"{row['rung']:<{width}}{row['method']:<10}{row['edit_lang']:<5}{row['lang']:<5}{row['spelling']:<11}{row['n']:>4}"
            f"{row['cross_lingual']:>8.2f}{row['before']:>8.2f}  {net}"
        )
    lines.append("cross: share of questions in the other language with the new answer; before: the same unedited;")
    lines.append("alike: subject and new answer are the same text in both languages, mixed: one of them; 95% by cases")
    return "\n".join(lines)
