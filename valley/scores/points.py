"""Every setting of a run as a point of specificity and generalisation, and which of them are on the Pareto front."""

from __future__ import annotations

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import CONTROLS, METRICS, RUNG, SETTING, kind_order
from valley.scores.cases import coded
from valley.scores.composites import chooser
from valley.scores.curve import Analysis
from valley.scores.settings import GROUP, group_means, needed, on_split, pareto, stratum

SCORES = ("generalisation", "specificity", "score")


def points(analysis: Analysis) -> pd.DataFrame:
    """One line per rung, edit kind, method and setting, scored on the split that the curve scores on.

    Scores are by the composite that chooses settings, not above placebo: placebos run for the best setting only.

    Columns: GROUP, n, generalisation, specificity, score each with _low and _high, site, lookup, depth,
    `best` (the curve's choice), `front` (on the Pareto front both of the dev cases, where settings were chosen on
    them, and of the scored cases), `control`. Lines with too few known cases are left out, as in the curve.
    """
    which, min_known = analysis.options["which"], analysis.options["min_known"]
    one = chooser(analysis.options["metric"])
    lines: list[dict] = []
    place = [*RUNG, "edit_kind"]
    usable = coded(stratum(analysis.scores, which))
    at = dict(iter(usable.groupby(place, observed=True)))
    for pick in analysis.choice.to_dict("records"):
        here = at.get(tuple(pick[name] for name in place), usable.iloc[:0])
        scored = on_split(here, pick["scored_on"])
        basis = here[here["split"] == "dev"] if pick["scored_on"] == "test" else scored
        means = group_means(basis, one)
        means = means[~means["method"].isin(CONTROLS)]
        front = set(pareto(means)[list(SETTING)].itertuples(index=False, name=None))
        group: list[dict] = []
        for key, part in scored.groupby(list(GROUP), observed=True):
            if len(part) < needed(min_known, pick["edit_kind"]):
                continue
            scores = analysis.resampler.draw(part).metrics(one)
            low, high = scores.bounds()
            setting = key[-2:]
            line = dict(zip(GROUP, key, strict=True)) | {"n": len(part)}
            for name in SCORES:
                i = METRICS.index(name)
                line |= {name: scores.value[i], f"{name}_low": low[i], f"{name}_high": high[i]}
            line |= {"site": part["site"].iloc[0], "lookup": part["lookup"].iloc[0], "depth": part["depth"].median()}
            line |= {"best": setting == (pick["method"], pick["settings"]), "front": setting in front}
            line |= {"control": setting[0] in CONTROLS}
            group.append(line)
        table = pd.DataFrame(group)
        standing = set(pareto(table[table["front"]]).index) if group else set()
        lines += [line | {"front": i in standing} for i, line in enumerate(group)]
    columns = [*GROUP, "n", *(f"{s}{e}" for s in SCORES for e in ("", "_low", "_high")),
               "site", "lookup", "depth", "best", "front", "control"]  # fmt: skip
    table = pd.DataFrame(lines, columns=columns).dropna(subset=["generalisation", "specificity"])
    table = table.astype({name: "bool" for name in ("best", "front", "control")})  # an empty table has no types yet
    order = [kind_order(kind) for kind in table["edit_kind"]]
    rank = {kind: i for i, kind in enumerate(sorted(set(order)))}
    table = table.assign(_k=np.array([rank[k] for k in order], dtype="int64"))
    keys = ["ladder", "rung_index", "rung", "_k", *SETTING]
    return table.sort_values(keys, kind="stable", ignore_index=True).drop(columns="_k")
