"""Which composite says what the retrain oracle says: rank correlations across edits, across methods, across rungs.

The composite is chosen on half of the seeds and confirmed on the other half. An edit counts where the unedited model
knew the fact and the oracle score is measurable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy.stats import spearmanr

from editing.lazy import pandas as pd
from valley.rows import PLACEBO, RUNG, RowsError
from valley.scores import PARTS, Composite, Means, composites, placebo_of, placebos
from valley.statistics import size_of

GOOD = 0.5  # rank correlation from which a composite may stand for the oracle
FEWEST = 4  # pairs that a correlation needs
EDIT = ["rung", "edit_kind", "method", "settings", "dataset", "case"]
VIEWS = ("edits", "methods", "rungs")
DRAWS = 500


@dataclass(frozen=True)
class Choice:
    """Attributes:
    table: one line per composite, half (choose, confirm) and view (VIEWS): rho, its 95% interval over rungs, groups.
    winners: one line per view that was measured: composite (the best one on the choosing half), chosen and confirmed
        (its rank correlation on either half), good (whether both reach GOOD).
    """

    table: pd.DataFrame
    winners: pd.DataFrame

    @property
    def good(self) -> bool:
        """Whether one composite wins every view that was measured, and is good in each."""
        return bool(len(self.winners) and self.winners["good"].all() and self.winners["composite"].nunique() == 1)


def edits_with_composites(scores: pd.DataFrame, oracle: pd.DataFrame, scope: str = "both") -> pd.DataFrame:
    """One line per edit that the oracle scored: EDIT, `oracle` (its score), and a column per composite.

    Args:
        scores: case scores of the run (`valley.scores.case_scores`). oracle: the table of `valley oracle`.

    Raises:
        RowsError: no edit of a fact that the unedited model knew, or the oracle scored none of them in this scope.
    """
    known = scores[scores["known"]]
    parts, placebo_edits = [], placebos(known)
    for _, part in known.groupby([*RUNG, "edit_kind", "method", "settings"], observed=True):
        if part["method"].iloc[0] != PLACEBO:
            placebo = _placebo(placebo_edits, part)
            means = Means(_values(part), {} if placebo is None else _values(placebo))
            columns = {one.name: _of_case(one, means, len(part)) for one in composites()}
            parts.append(part[EDIT].reset_index(drop=True).assign(**columns))
    if not parts:
        raise RowsError(
            "the run has no edit whose fact the unedited model knew, so no composite can be compared with the oracle; "
            "edit more facts, or models that know more"
        )
    table = pd.concat(parts, ignore_index=True).astype(dict.fromkeys(EDIT, "string"))
    truth = oracle.loc[oracle["scope"] == scope, [*EDIT, "score"]].rename(columns={"score": "oracle"})
    table = table.merge(truth.astype(dict.fromkeys(EDIT, "string")), on=EDIT, validate="one_to_one")
    table = table[table["oracle"].notna()].reset_index(drop=True)
    if table.empty:
        raise RowsError(
            f"the oracle scored no edit of a known fact in the scope {scope}, so no composite can be compared with it; "
            f"run `oracle` with --scope {scope}, or edit more facts"
        )
    return table


def _values(cases: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: cases[name].to_numpy(float) for name in PARTS if name in cases}


def _placebo(placebo_edits: dict[tuple, pd.DataFrame], part: pd.DataFrame) -> pd.DataFrame | None:
    """The placebo edits of the same method and setting, in the order of `part`; None where none ran."""
    placebo = placebo_of(placebo_edits, part)
    return None if placebo is None else placebo.set_index("pair").reindex(part["pair"])


def _of_case(composite: Composite, means: Means, n: int) -> np.ndarray:
    try:
        return np.broadcast_to(np.asarray(composite(means), float), (n,))
    except KeyError:  # the run does not measure a part of it
        return np.full(n, np.nan)


def correlations(edits: pd.DataFrame) -> pd.DataFrame:
    """One line per composite and view: `rho` (Spearman), `low`, `high` (bootstrap over rungs; NaN from fewer than two)
    and `groups`.

    Views: *edits*: across the edits of one rung, kind and method, averaged; *methods*: across the methods' means at one
    rung and kind, averaged; *rungs*: across the rungs' means of one method and kind, averaged.
    """
    out = []
    rungs = sorted(edits["rung"].unique())
    rng = np.random.default_rng(0)
    draws = [rng.choice(len(rungs), len(rungs)) for _ in range(DRAWS)]
    for name in (one.name for one in composites()):
        usable = edits[["rung", "edit_kind", "method", "oracle", name]].rename(columns={name: "value"}).dropna()
        for view in VIEWS:
            pairs = _rhos(usable, view)
            rho = float(pairs["rho"].mean()) if len(pairs) else np.nan
            low = high = np.nan
            if pairs["rung"].nunique() > 1:
                of_rung = pairs.groupby("rung")["rho"].agg(["sum", "size"]).reindex(rungs).fillna(0).to_numpy()
                sums = np.array([of_rung[draw].sum(axis=0) for draw in draws])
                low, high = np.quantile(sums[sums[:, 1] > 0, 0] / sums[sums[:, 1] > 0, 1], [0.025, 0.975])
            out.append({"composite": name, "view": view, "rho": rho, "low": low, "high": high, "groups": len(pairs)})
    return pd.DataFrame(out)


def _rhos(usable: pd.DataFrame, view: str) -> pd.DataFrame:
    """One line per group of the view with enough pairs: rung (empty across rungs), rho."""
    if view == "edits":
        groups, by = usable, ["rung", "edit_kind", "method"]
    else:
        groups = usable.groupby(["rung", "edit_kind", "method"], as_index=False)[["oracle", "value"]].mean()
        by = ["rung", "edit_kind"] if view == "methods" else ["edit_kind", "method"]
    lines = []
    for key, part in groups.groupby(by):
        if len(part) >= FEWEST and part["oracle"].nunique() > 1:
            # A composite that is the same for all says nothing of their order: 0, not missing.
            differ = part["value"].nunique() > 1
            rho = float(cast(float, spearmanr(part["oracle"], part["value"])[0])) if differ else 0.0
            lines.append({"rung": key[0] if view != "rungs" else "", "rho": rho})
    return pd.DataFrame(lines, columns=["rung", "rho"])


def choose_composite(edits: pd.DataFrame) -> Choice:
    """The composite that predicts the oracle best on the rungs of every other seed, confirmed on the rest."""
    size = edits["rung"].map(size_of)
    order = edits.assign(size=size).drop_duplicates("rung").sort_values(["size", "rung"])
    turn = order.groupby("size").cumcount()
    halves = dict(zip(order["rung"], np.where(turn % 2 == 0, "choose", "confirm"), strict=True))
    half = edits["rung"].map(halves)
    tables = [
        correlations(edits[half == name]).assign(half=name) for name in ("choose", "confirm") if (half == name).any()
    ]
    table = pd.concat(tables, ignore_index=True)
    wide = table.pivot(index=["view", "composite"], columns="half", values="rho").reindex(columns=["choose", "confirm"])
    winners = []
    for view in VIEWS:
        part = cast(pd.DataFrame, wide.loc[view]).dropna(subset=["choose"])
        if len(part):
            name = str(part["choose"].idxmax())
            chosen, confirmed = (float(cast(float, part.loc[name, half])) for half in ("choose", "confirm"))
            line = {"view": view, "composite": name, "chosen": chosen, "confirmed": confirmed}
            winners.append(line | {"good": chosen >= GOOD and confirmed >= GOOD})
    return Choice(table, pd.DataFrame(winners, columns=["view", "composite", "chosen", "confirmed", "good"]))


def format_choice(choice: Choice) -> str:
    """The choice as text: a line per composite with its rank correlation in each view and half."""
    wide = choice.table.pivot(index="composite", columns=["half", "view"], values="rho")
    columns = [(half, view) for half in ("choose", "confirm") for view in VIEWS if (half, view) in wide]
    lines = [f"{'composite':38}" + "".join(f"{half + ' ' + view:>18}" for half, view in columns)]
    for name, row in wide.iterrows():
        lines.append(f"{name!s:38}" + "".join(f"{_two(float(row[column])):>18}" for column in columns))
    lines += [winner_sentence(line) for line in choice.winners.to_dict("records")]
    return "\n".join(lines)


def winner_sentence(line: Mapping[Any, Any]) -> str:
    """What one line of `Choice.winners` says."""
    end = "it may stand for the oracle there" if line["good"] else "none is good enough there"
    numbers = f"{_two(line['chosen'])} on the choosing half, {_two(line['confirmed'])} on the other"
    return f"across {line['view']} {line['composite']} is the best: {numbers}; {GOOD:g} is needed on both, so {end}"


def _two(value: float) -> str:
    return "n/a" if value != value else f"{value:.2f}"
