"""The picture of a readings table: a panel per measure, models in their order, the measurement beside its controls."""

from __future__ import annotations

import altair as alt
import pandas as pd

from benchmarks.pictures import heading, lines_of
from valley.rows import at_best_place

# Measures in one picture, and what a panel is called: the reading twins of generalisation and specificity first.
SHOWN = {
    ("interchange", "cause"): "interchange: cause",
    ("interchange", "isolation"): "interchange: isolation",
    ("linearity", "faithfulness"): "linearity: faithfulness",
    ("crispness", "align_rank"): "crispness: rank of the translation",
    ("probes", "dense"): "probes: accuracy, held-out entities",
    ("interference", "key_overlap_whitened"): "interference: overlap of keys",
    ("interference", "unembedding_overlap"): "interference: overlap of unembeddings",
    ("tracing", "mlp_effect"): "tracing: effect of restored maps",
}
MEASURED = "measured"


def _turn(controls: list[str], start: int) -> list[str]:
    """The next six controls, behind a name that takes the measurement's colour (its own, then blanks)."""
    return [controls[0] if start == 0 else " " * start, *controls[1 + start : 7 + start]]


def readings_chart(table: pd.DataFrame, lang: str = "en") -> alt.FacetChart | None:
    """The measures of SHOWN against the models of a table; None where it has none of them."""
    values = at_best_place(table, lang)
    titles = [SHOWN.get((r, m), "") for r, m in zip(values["reading"], values["measure"], strict=True)]
    values = values.assign(title=titles, control=values["control"].replace("none", MEASURED))
    values = values[values["title"] != ""][["rung", "title", "control", "value"]]
    if values.empty:
        return None
    rungs = list(dict.fromkeys(table["rung"]))
    controls = [MEASURED, *sorted(set(values["control"]) - {MEASURED})]
    # Colours repeat from the eighth name on: the measurement's own is given to no control.
    colour, dash = lines_of("control", [name for i in range(0, len(controls), 6) for name in _turn(controls, i)])
    base = alt.Chart(values).encode(
        x=alt.X("rung:N", sort=rungs, title=None, axis=alt.Axis(labelAngle=-40)),
        y=alt.Y("value:Q", title=None),
        color=colour,
    )
    lines = alt.layer(base.mark_line(strokeWidth=1.6).encode(strokeDash=dash), base.mark_circle(size=28))
    order = [title for title in SHOWN.values() if title in set(values["title"])]
    return (
        lines.properties(width=230, height=130)
        .facet(facet=alt.Facet("title:N", title=None, sort=order), columns=3, title=heading("Readings by model"))
        .resolve_scale(y="independent")
    )
