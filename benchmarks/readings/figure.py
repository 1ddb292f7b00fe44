"""The picture of a readings table: a panel per measure, sizes of model in their order, measurement beside controls."""

from __future__ import annotations

from benchmarks.pictures import heading, lines_of
from editing.lazy import altair as alt
from editing.lazy import pandas as pd
from valley.rows import at_best_place
from valley.statistics import size_of

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


def readings_chart(table: pd.DataFrame, lang: str = "en") -> alt.FacetChart | None:
    """The measures of SHOWN against size: a dot per model, a line through the means over seeds. None without any."""
    values = at_best_place(table, lang)
    titles = [SHOWN.get((r, m), "") for r, m in zip(values["reading"], values["measure"], strict=True)]
    words = values["control"].str.replace("_", " ").replace("none", MEASURED)
    values = values.assign(title=titles, control=words)
    values = values[values["title"] != ""][["rung", "title", "control", "value"]]
    if values.empty:
        return None
    values = values.assign(size=values["rung"].astype(str).map(size_of))
    sizes = list(dict.fromkeys(size_of(str(rung)) for rung in table["rung"]))
    colour, dash = lines_of("control", [MEASURED, *sorted(set(values["control"]) - {MEASURED})])
    base = alt.Chart(values).encode(
        x=alt.X("size:N", sort=sizes, title=None, axis=alt.Axis(labelAngle=-40)), y=alt.Y("value:Q", title=None)
    )
    means = base.mark_line(strokeWidth=1.6).encode(y=alt.Y("mean(value):Q", title=None), color=colour, strokeDash=dash)
    models = base.mark_circle(size=22, opacity=0.6).encode(color=colour)
    order = [title for title in SHOWN.values() if title in set(values["title"])]
    return (
        alt.layer(means, models)
        .properties(width=230, height=130)
        .facet(
            facet=alt.Facet("title:N", title=None, sort=order), columns=3, title=heading("Readings by size of model")
        )
        .resolve_scale(y="independent")
        .resolve_axis(x="independent")
    )
