"""Whether the layers tried reach the same ends of every rung's model.

Depths are fractions of a model's layers, so a grid of them is not the same grid at every size: .2 is the first layer of
four and the second of six. Where the best site is the first layer, a curve falls just where the grid begins to miss it,
and that fall has the shape that is looked for (results/study). So a judgement says at which rungs an end was tried and
at which it was not.
"""

from __future__ import annotations

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import CONTROLS, RUNG

ENDS = ("first", "last")


def ends_missed(rows: pd.DataFrame) -> pd.DataFrame:
    """Methods that tried an end of the model at some rungs of a ladder and not at others.

    Args:
        rows: Rows of runs; `depth` is (layer + 1/2) / n_layers, and not that for a method without a layer (a context,
            an embedding row).

    Returns:
        One line per ladder, method and end ("first", "last" layer): `tried`, the number of rungs that did, and
        `missed`, the names of those that did not, in their order. Methods alike at all rungs have no line.
    """
    used = _layers(rows)
    reached = {"first": used["layer"] < 0.5, "last": used["layer"] > used["n_layers"].astype(float) - 1.5}
    lines = []
    for (ladder, method), part in used.groupby(["ladder", "method"], sort=True):
        for end in ENDS:
            at = reached[end][part.index].groupby([part["rung_index"], part["rung"]]).any()
            if at.any() and not at.all():
                missed = tuple(str(rung) for _, rung in at.index[~at])
                lines.append({"ladder": ladder, "method": method, "end": end, "tried": int(at.sum()), "missed": missed})
    return pd.DataFrame(lines, columns=["ladder", "method", "end", "tried", "missed"])


def _layers(rows: pd.DataFrame) -> pd.DataFrame:
    """RUNG, method, depth, n_layers and `layer` (from 0) of everything that methods tried; sites at no layer are left
    out."""
    used = rows[(rows["error"] == "") & ~rows["method"].isin(CONTROLS)]
    used = used[[*RUNG, "method", "depth", "n_layers"]].drop_duplicates()
    layer = used["depth"].astype(float) * used["n_layers"].astype(float) - 0.5
    return used[np.isclose(layer, layer.round(), atol=1e-6) & (layer > -0.25)].assign(layer=layer.round())


def grids(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The layers that a method tried, by (ladder, method): two methods of one grid are one witness for a fall that the
    grid can make.

    Returns:
        "" where every layer of every rung was tried, or the method has no layer: no grid can make a shape there. Else
        the depths tried at each rung, as text: equal texts are one grid.
    """
    used, out = _layers(rows), {}
    for (ladder, method), part in used.groupby(["ladder", "method"], sort=True):
        by_rung = part.groupby(["rung_index", "rung"])
        complete = (by_rung["layer"].nunique() >= by_rung["n_layers"].first()).all()
        tried = by_rung["layer"].agg(lambda layers: ",".join(f"{v:.0f}" for v in sorted(set(layers))))
        names = tried.index.get_level_values("rung")
        text = "; ".join(f"{rung}: {layers}" for rung, layers in zip(names, tried, strict=True))
        out[str(ladder), str(method)] = "" if complete else text
    return out


def format_ends(table: pd.DataFrame) -> list[str]:
    """The table in words: one line per ladder and end and set of rungs, with the methods it is true of."""
    several = table["ladder"].nunique() > 1
    out = []
    for _, part in table.groupby(["ladder", "end", "missed"], sort=False):
        line = part.iloc[0]
        n, missed, of = int(line["tried"]), line["missed"], f" of ladder {line['ladder']}" if several else ""
        named = ", ".join(missed[:4]) + (f" and {len(missed) - 4} more" if len(missed) > 4 else "")
        out.append(
            f"the {line['end']} layer{of} was tried at {n} of {n + len(missed)} rungs, not at {named}, "
            f"by {', '.join(part['method'])}; a change just there may be the grid's"
        )
    return out
