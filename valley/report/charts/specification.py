"""The specification curve: a row per composite with its verdict, and the best method's score at every size."""

from __future__ import annotations

from editing.lazy import altair as alt
from editing.lazy import pandas as pd
from valley.report.charts.common import INK, ROWS, Chart, dress, kinds_of, named, records, tooltips
from valley.rows import LABELS
from valley.text import clean

WIDTH, HEIGHT = 46, 20  # of a cell
VERDICT = "verdict"  # the column behind the sizes


def specification_chart(name: str, curves: pd.DataFrame) -> Chart | None:
    """Heat map of composite x size, a panel per edit kind.

    Args:
        curves: `Specifications.curves` of one ladder.

    Returns:
        None unless two composites were measured at two sizes.
    """
    if curves["composite"].nunique() < 2 or curves["size"].nunique() < 2:
        return None
    order = [clean(size) for size in curves.sort_values("strength", kind="stable")["size"].drop_duplicates()]
    shown = named(curves).assign(label=[f"{value:.2f}" for value in curves["value"]])
    verdicts = shown.drop_duplicates(["kind", "composite"]).assign(size=VERDICT, value=float("nan"), seeds=0)
    shown = pd.concat([shown, verdicts.assign(label=verdicts["outcome"])], ignore_index=True)
    shown = shown.assign(size=[clean(size) for size in shown["size"]])
    kinds = [LABELS.get(k, clean(k)) for k in kinds_of(shown)]
    rows = list(dict.fromkeys(shown["choice"]))
    x = alt.X("size:N", sort=[*order, VERDICT], title=None, axis=alt.Axis(labelAngle=-40, labelLimit=130))
    y = alt.Y("choice:N", sort=rows, title=None, axis=alt.Axis(labelLimit=520))
    fill = alt.Color(
        "value:Q", scale=alt.Scale(scheme="viridis", domain=[0, 1]), legend=alt.Legend(title="score", format=".1f")
    )
    tips = tooltips(("size", "kind", "choice", "outcome", "composite"), {"value": ".2f", "seeds": "d"})
    base = alt.Chart().encode(x=x, y=y)
    scores = base.transform_filter(f"datum.size != '{VERDICT}'")
    cells = scores.mark_rect().encode(color=fill, tooltip=tips)
    ink = alt.condition("datum.value > 0.6", alt.value("#000000"), alt.value("#ffffff"))
    numbers = scores.mark_text(fontSize=11).encode(text="label:N", color=ink)
    ends = base.transform_filter(f"datum.size == '{VERDICT}'").mark_text(fontSize=11, align="left", dx=-18, fill=INK)
    chart = (
        alt.layer(cells, numbers, ends.encode(text="label:N"), data=alt.NamedData(name=ROWS))
        .properties(width=WIDTH * (len(order) + 2), height=HEIGHT * len(rows))
        .facet(facet=alt.Facet("kind:N", title=None, sort=kinds), columns=1)
    )
    columns = ["size", "kind", "label", "choice", "outcome", "composite", "value", "seeds"]
    return Chart(name, "Best method's score at every size under every composite, with the verdict of each",
                 {"": dress(chart)}, records(shown, columns), title="The choice of the score, and what it gives",
                 note=("rows: composites, with the verdict of each; columns: sizes, smallest first",))  # fmt: skip
