"""Scores per size of model, mean over its seeds, and the mean over the sizes of a ladder, with 95% intervals.

Draws of relations and facts are those of `valley.scores.available` and thus shared by all rungs; the interval is that
of `valley.statistics.mean_interval`. A percentile interval of redrawn seeds was too narrow: of two or three seeds it
states half or two thirds of their variance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from editing.lazy import pandas as pd
from valley.scores.available import PLAN_AXES, Available, least_of
from valley.statistics import mean_interval, within_range

ALL_SIZES = "all sizes"


def by_size(scored: Available, metric: str) -> pd.DataFrame:
    """One line per ladder, edit kind, method and size, and one of ALL_SIZES: value, low, high (95%), seeds, axes.

    The interval of a single seed has no part for the luck of training; `seeds` lists those.
    """
    j = scored.column(metric)
    lines = scored.lines.assign(units=scored.units[:, j], cases=scored.cases[:, j])
    return sizes(lines, scored.values[:, j], scored.samples[:, :, j], tuple(PLAN_AXES), least_of(metric))


def sizes(
    lines: pd.DataFrame, values: np.ndarray, samples: np.ndarray, axes: Sequence[str], least: float = 0.0
) -> pd.DataFrame:
    """As `by_size`, of any score.

    Args:
        lines: ladder, edit_kind, method, size, units and cases (that have the score, as in `Sampled`), reason and the
            columns `axes`, one line per model; index 0, 1, 2...
        values: (lines,) of the score; NaN where not measured. samples: (lines, draws) of its bootstrap.
        least: the score lies between it and 1, and so does its interval.
    """
    out = []
    for key, group in lines.groupby(["ladder", "edit_kind", "method"], sort=False):
        about = dict(zip(("ladder", "edit_kind", "method"), key, strict=True))
        means, drawn, units, cases = [], [], [], []
        for size, models in group.groupby("size", sort=False):
            here = models.index[~np.isnan(values[models.index])].to_numpy()
            line = about | {"size": size, "seeds": len(here)} | models[list(axes)].mean().to_dict()
            if len(here):
                means.append(float(values[here].mean()))
                drawn.append(samples[here].mean(axis=0))
                units.append(int(lines.loc[here, "units"].min()))
                cases.append(int(lines.loc[here, "cases"].min()))
                line |= _estimate(values[here], samples[here], units[-1], cases[-1], least)
            out.append(line | {"reason": "" if len(here) else models["reason"].iloc[0] or "not measured"})
        if means:
            seeds = int((~np.isnan(values[group.index])).sum())
            whole = _estimate(np.array(means), np.stack(drawn), min(units), min(cases), least)
            out.append(about | {"size": ALL_SIZES, "seeds": seeds, "reason": ""} | whole)
    columns = ["ladder", "edit_kind", "method", "size", "seeds", "value", "low", "high", *axes, "reason"]
    return pd.DataFrame(out).reindex(columns=columns)


def _estimate(values: np.ndarray, samples: np.ndarray, units: int, cases: int, least: float) -> dict[str, float]:
    value = values.mean()
    low, high = map(np.array, mean_interval(values, samples, units))
    low, high = within_range(value, low, high, cases, least)
    return {"value": float(value), "low": float(low), "high": float(high)}


SHOWN = ("score", "generalisation", "specificity", "cross_lingual_net", "e_hv", "gen_at_spec", "delta_layer")
HEADS = ("score", "generalisation", "specificity", "net transfer", "E_HV", "Gen@Spec", "dE_layer")


def editability(scored: Available) -> pd.DataFrame:
    """`by_size` of SHOWN in one table, with a column `metric`."""
    return pd.concat([by_size(scored, m).assign(metric=m) for m in SHOWN], ignore_index=True)


def format_editability(table: pd.DataFrame) -> str:
    """One block per edit kind and method, one line per size: each score with its interval; n/a where not measured."""
    heads: dict[str, str] = dict(zip(SHOWN, HEADS, strict=True))
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
        "95% intervals: Student's over relations (facts shared by all rungs) and seeds; all sizes: over sizes too.",
    ]
    return "\n".join(out[1:])


def _cell(line: dict) -> str:
    if pd.isna(line["value"]):
        return "n/a"
    spread = "" if pd.isna(line["low"]) else f" {line['low']:.2f}–{line['high']:.2f}"
    return f"{line['value']:.2f}{spread}"


def format_regret(lines: pd.DataFrame) -> list[str]:
    """What choosing settings on few development cases may cost, and by how much that differs between rungs: a line per
    ladder and edit kind.

    Args:
        lines: of `Available`. Per rung the method that does best is not known here, so the median over methods counts.
    """
    several = lines["ladder"].nunique() > 1
    out = []
    for (ladder, kind), part in lines.dropna(subset=["regret"]).groupby(["ladder", "edit_kind"], sort=False):
        rungs = part.groupby(["rung_index", "rung"])[["regret", "n_dev"]].median()
        least, most = rungs["regret"].min(), rungs["regret"].max()
        whose = f"{kind} edits{f', ladder {ladder}' if several else ''}"
        out.append(
            f"{whose}: settings were chosen on {rungs['n_dev'].min():.0f} "
            f"to {rungs['n_dev'].max():.0f} known development cases a rung; a better one may be missed by up to "
            f"{least:.3f} to {most:.3f} of the score (97.5%), {most - least:.3f} more at one rung than at another"
        )
    return out
