"""Two runs of one plan row by row: is the second one the first one again?

Rows are the same where the questions' answers after the edit, the hits and the scores are; free text is compared where
both runs read it. Settings that only one run states, being newer than the other, do not distinguish rows.

On another machine numbers round otherwise, and a few close calls fall to the other side: a run counts as repeated when
at least SAME_ROWS of its rows are the same and no mean score of a model, method, kind of edit and kind of probe differs
by more than TOLERANCE.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from editing.lazy import pandas as pd

KEY = (
    "ladder", "rung", "run_seed", "method", "settings", "dose", "edit_kind", "edit_lang", "dataset", "case", "split",
    "probe", "probe_index",
)  # fmt: skip
COMPARED = ("pick_before", "pick_after", "hit_before", "hit_after", "value", "exact_after")
READ_OR_NOT = "exact_after"  # free text: newer runs do not read it on development cases
MEANS = ("ladder", "rung", "method", "edit_kind", "probe")
SAME_ROWS, TOLERANCE = 0.98, 0.02


@dataclass(frozen=True)
class Repeat:
    """How two runs compare.

    Attributes:
        rows: in both. only_first, only_second: in one of them. same: of `rows`, equal in all of COMPARED.
        difference: largest difference of a mean score, see the head of this file.
        weights: rungs whose weights differ.
    """

    rows: int
    only_first: int
    only_second: int
    same: int
    difference: float
    weights: tuple[str, ...]

    @property
    def identical(self) -> bool:
        return self.rows > 0 and self.same == self.rows and not (self.only_first or self.only_second or self.weights)

    @property
    def repeated(self) -> bool:
        whole = self.rows > 0 and not (self.only_first or self.only_second)
        return self.identical or (whole and self.same >= SAME_ROWS * self.rows and self.difference <= TOLERANCE)

    def as_json(self) -> dict[str, Any]:
        flags = {"identical": self.identical, "repeated": self.repeated}
        return asdict(self) | flags | {"same_rows_needed": SAME_ROWS, "tolerance": TOLERANCE}


def repeat(first: pd.DataFrame, second: pd.DataFrame) -> Repeat:
    """Compare the rows of two runs; both packed or both whole, since packing rounds."""
    one, two = (_keyed(rows) for rows in _with_shared_settings(first, second))
    both = one.index.intersection(two.index)
    a, b = one.loc[both], two.loc[both]
    same = np.ones(len(both), bool)
    for name in COMPARED:
        x, y = a[name].to_numpy(), b[name].to_numpy()
        missing = pd.isna(x) | pd.isna(y) if name == READ_OR_NOT else pd.isna(x) & pd.isna(y)
        same &= (x == y) | missing
    means = [rows.groupby(list(MEANS))["value"].mean() for rows in (a.reset_index(), b.reset_index())]
    apart = (means[0] - means[1]).abs()
    hashes = [rows.groupby("rung")["model_hash"].first() for rows in (a.reset_index(), b.reset_index())]
    weights = tuple(str(rung) for rung in hashes[0].index if hashes[0][rung] != hashes[1][rung])
    difference = float(apart.max()) if apart.notna().any() else 0.0
    return Repeat(len(both), len(one) - len(both), len(two) - len(both), int(same.sum()), difference, weights)


def _with_shared_settings(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables, the settings of each method without those that the other table does not state."""
    stated = [_stated_settings(rows) for rows in (first, second)]

    def shared(rows: pd.DataFrame) -> pd.DataFrame:
        texts = {}
        for method, text in rows[["method", "settings"]].drop_duplicates().itertuples(index=False, name=None):
            both = stated[0].get(method, set()) & stated[1].get(method, set())
            texts[method, text] = json.dumps({k: v for k, v in json.loads(text or "{}").items() if k in both})
        return rows.assign(settings=[texts[pair] for pair in zip(rows["method"], rows["settings"], strict=True)])

    return shared(first), shared(second)


def _stated_settings(rows: pd.DataFrame) -> dict[str, set[str]]:
    """Method -> names of the settings that its rows state."""
    stated: dict[str, set[str]] = {}
    for method, text in rows[["method", "settings"]].drop_duplicates().itertuples(index=False, name=None):
        stated.setdefault(method, set()).update(json.loads(text or "{}"))
    return stated


def _keyed(rows: pd.DataFrame) -> pd.DataFrame:
    keyed = rows[rows["error"] == ""].set_index(list(KEY))
    return keyed[~keyed.index.duplicated()]


def format_repeat(name: str, done: Repeat) -> str:
    """The outcome in words."""
    if done.identical:
        verdict = "reproduced: every answer and score is the same"
    elif done.repeated:
        verdict = f"reproduced within tolerance ({SAME_ROWS:.0%} of rows the same, mean scores within {TOLERANCE:g})"
    elif done.rows and done.same == done.rows and done.only_second and not (done.only_first or done.weights):
        verdict = "unfinished: its rows are the same again, and more were measured now; finish it, then compare"
    else:
        verdict = "NOT reproduced"
    lines = [
        f"{name}: {verdict}",
        f"{done.same:,} of {done.rows:,} rows have the same answers and scores; "
        f"{done.only_first:,} rows only before, {done.only_second:,} only now",
        f"largest difference of a mean score: {done.difference:.4f}",
    ]
    if done.weights:
        lines.append(f"the weights of these models differ: {', '.join(done.weights)}")
    return "\n".join(lines)
