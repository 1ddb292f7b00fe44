"""Scores per size of model with the full hierarchical bootstrap: rung, then seed, then relation, then fact.

Draws of relations and facts are those of `valley.scores.available` and thus shared by all rungs; here seeds are redrawn
within each size and, for the mean over a ladder, sizes within the ladder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from valley.scores.available import PLAN_AXES, SCORES, Available
from valley.statistics import interval

ALL_SIZES = "all sizes"


def by_size(scored: Available, metric: str, seed: int = 0) -> pd.DataFrame:
    """One line per ladder, edit kind, method and size, and one of ALL_SIZES: value, low, high (95%), seeds, axes.

    The interval of a single seed has no part for the luck of training; `seeds` tells which those are. With m seeds the
    bootstrap's variance between them is (m-1)/m of the true one (Davison and Hinkley 1997, section 3.8).
    """
    j = SCORES.index(metric)
    return sizes(scored.lines, scored.values[:, j], scored.samples[:, :, j], tuple(PLAN_AXES), seed)


def sizes(
    lines: pd.DataFrame, values: np.ndarray, samples: np.ndarray, axes: Sequence[str], seed: int = 0
) -> pd.DataFrame:
    """As `by_size`, of any score.

    Args:
        lines: ladder, edit_kind, method, size, reason and the columns `axes`, one line per model; index 0, 1, 2...
        values: (lines,) of the score; NaN where not measured. samples: (lines, draws) of its bootstrap.
    """
    draws = samples.shape[1]
    out = []
    for key, group in lines.groupby(["ladder", "edit_kind", "method"], sort=False):
        rng = np.random.default_rng([seed, *"/".join(map(str, key)).encode()])
        about = dict(zip(("ladder", "edit_kind", "method"), key, strict=True))
        means, drawn = [], []
        for size, models in group.groupby("size", sort=False):
            here = models.index[~np.isnan(values[models.index])].to_numpy()
            line = about | {"size": size, "seeds": len(here)} | models[list(axes)].mean().to_dict()
            if len(here):
                which = here[rng.integers(len(here), size=(draws, len(here)))]
                means.append(float(values[here].mean()))
                drawn.append(samples[which, np.arange(draws)[:, None]].mean(axis=1))
                line |= _estimate(means[-1], drawn[-1])
            out.append(line | {"reason": "" if len(here) else models["reason"].iloc[0] or "not measured"})
        if means:
            which = rng.integers(len(means), size=(len(means), draws))
            whole = np.stack(drawn)[which, np.arange(draws)].mean(axis=0)
            seeds = int((~np.isnan(values[group.index])).sum())
            out.append(
                about | {"size": ALL_SIZES, "seeds": seeds, "reason": ""} | _estimate(float(np.mean(means)), whole)
            )
    columns = ["ladder", "edit_kind", "method", "size", "seeds", "value", "low", "high", *axes, "reason"]
    return pd.DataFrame(out).reindex(columns=columns)


def _estimate(value: float, samples: np.ndarray) -> dict[str, float]:
    low, high = interval(samples[:, None])
    return {"value": float(value), "low": float(low[0]), "high": float(high[0])}


SHOWN = ("harmonic_mean", "harmonic_mean_net", "e_hv", "e_hv_net", "gen_at_spec", "delta_loc")


def editability(scored: Available, seed: int = 0) -> pd.DataFrame:
    """`by_size` of SHOWN in one table, with a column `metric`."""
    return pd.concat([by_size(scored, m, seed).assign(metric=m) for m in SHOWN], ignore_index=True)


def format_editability(table: pd.DataFrame) -> str:
    """One block per edit kind and method, one line per size: each score with its interval; n/a where not measured."""
    heads: dict[str, str] = dict(
        zip(SHOWN, ("best harm. mean", "harm. > placebo", "E_HV", "E_HV > placebo", "Gen@Spec", "dE_loc"), strict=True)
    )
    out: list[str] = []
    for key, block in table.groupby(["ladder", "edit_kind", "method"], sort=False):
        ladder, kind, method = map(str, key)
        wide: dict[str, pd.DataFrame] = {m: block[block["metric"] == m].set_index("size") for m in SHOWN}
        shown = [m for m in SHOWN if wide[m]["value"].notna().any()]
        out += ["", f"{kind} edits by {method}, ladder {ladder}"]
        first = wide[SHOWN[0]]
        width = max(len(str(size)) for size in first.index)
        out.append(" ".join([f"{'size':{width}} seeds", *(f"{heads[m]:>18}" for m in shown)]))
        lines = {m: wide[m].to_dict("index") for m in shown or SHOWN[:1]}
        for size, about in first.to_dict("index").items():
            cells = [f"{_cell(lines[m][size]):>18}" for m in lines]
            tail = [f"n/a ({about['reason']})"] if about["reason"] else cells
            out.append(" ".join([f"{size:{width}} {about['seeds']:>5}", *tail]))
    out += [
        "",
        "95% intervals by bootstrap over seeds, relations and facts (facts shared by all rungs); all sizes: "
        "sizes redrawn too.",
    ]
    return "\n".join(out[1:])


def _cell(line: dict) -> str:
    if pd.isna(line["value"]):
        return "n/a"
    spread = "" if pd.isna(line["low"]) else f" {line['low']:.2f}–{line['high']:.2f}"
    return f"{line['value']:.2f}{spread}"
