"""The pictures of the proof: tables in, Altair charts out. Imports altair."""

from __future__ import annotations

import math

from benchmarks.pictures import GREY, INK, PALETTE
from editing.lazy import altair as alt
from editing.lazy import pandas as pd

WIDTH, HEIGHT = 340, 240


def oracle_chart(table: pd.DataFrame) -> alt.LayerChart:
    """Oracle score of every method, with its interval, one colour per edit kind; both languages report the edits."""
    lines = table[table["scope"] == "both"]
    order = lines.groupby("method")["score"].mean().sort_values(ascending=False).index.tolist()
    base = alt.Chart(lines).encode(
        y=alt.Y("method:N", sort=order, title=None),
        yOffset="edit_kind:N",
        color=alt.Color("edit_kind:N", title=None, scale=alt.Scale(range=list(PALETTE[:3]))),
    )
    title = "oracle score: 0 no edit, 1 as good as retraining"
    spans = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    dots = base.mark_circle(size=60).encode(x=alt.X("score:Q", title=title))
    return _layers([_rule(0.0), _rule(1.0), spans, dots], 420, 330)


def composite_chart(table: pd.DataFrame) -> alt.HConcatChart:
    """Rank correlation of every composite with the oracle, a panel per view, on both halves."""
    order = table[table["view"] == "methods"].groupby("composite")["rho"].mean().sort_values(ascending=False)
    least = min(-0.2, math.floor(5 * table["rho"].min()) / 5)
    panels = []
    views = {"edits": "across the edits of one method", "methods": "across the methods", "rungs": "across the rungs"}
    for view, title in views.items():
        part = table[table["view"] == view].dropna(subset=["rho"])
        base = alt.Chart(part, title=title).encode(
            y=alt.Y("composite:N", sort=order.index.tolist(), title=None, axis=alt.Axis(labelLimit=300)),
            color=alt.Color("half:N", title="half of the seeds", scale=alt.Scale(range=list(PALETTE[:2]))),
        )
        dots = base.mark_circle(size=60).encode(
            x=alt.X("rho:Q", title="rank correlation with the oracle score", scale=alt.Scale(domain=[least, 1]))
        )
        panels.append(_layers([_rule(0.0), _rule(0.5), dots], 240, 320))
    return alt.hconcat(*panels)


def verdict_chart(curves: dict[str, tuple[pd.DataFrame, str]], metric: str) -> alt.ConcatChart:
    """The measured score along planted ladders, a panel each; the title says what was planted and the verdict."""
    panels = []
    for name, (curve, verdict) in curves.items():
        steps = curve.drop_duplicates("size").sort_values("rung_index")["size"].tolist()
        means = curve.groupby(["size", "method"])["value"].mean().reset_index()
        colour = alt.Color("method:N", title=None, scale=alt.Scale(range=list(PALETTE[:4])))
        x = alt.X("size:N", sort=steps, title="place in the ladder", axis=alt.Axis(labelAngle=-30))
        y = alt.Y("value:Q", title=metric, scale=alt.Scale(domain=[0, 1]))
        title = alt.TitleParams(name, subtitle=f"verdict: {verdict}", subtitleColor=INK)
        line = alt.Chart(means, title=title).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour)
        dots = alt.Chart(curve).mark_circle(size=30, opacity=0.6).encode(x=x, y=y, color=colour)
        panels.append(_layers([line, dots], WIDTH, HEIGHT))
    return alt.concat(*panels, columns=2)


def dose_chart(scores: pd.DataFrame, dial: str, shown: dict[str, str], title: str) -> alt.HConcatChart:
    """Scores against a dial, a panel per method: a line through the means, a dot per seed.

    Args:
        shown: column -> name in the legend. title: of the horizontal axis.
    """
    panels = []
    for method, part in scores.groupby("method"):
        long = part.melt([dial, "seed"], list(shown), "score", "value").dropna()
        long["score"] = long["score"].map(shown)
        means = long.groupby([dial, "score"])["value"].mean().reset_index()
        colour = alt.Color("score:N", title=None, scale=alt.Scale(domain=list(shown.values()), range=list(PALETTE)))
        x, y = alt.X(f"{dial}:Q", title=title), alt.Y("value:Q", title="score", scale=alt.Scale(domain=[0, 1]))
        line = alt.Chart(means, title=str(method)).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour)
        dots = alt.Chart(long).mark_circle(size=36, opacity=0.6).encode(x=x, y=y, color=colour)
        panels.append(_layers([line, dots], WIDTH, HEIGHT))
    return alt.hconcat(*panels)


def size_chart(sizes: pd.DataFrame) -> alt.HConcatChart:
    """Oracle score against size, a panel per edit kind, a line per method."""
    order = [name for name in sizes.columns if name not in ("kind", "method")]
    panels = []
    for kind, part in sizes.groupby("kind"):
        lines = part.melt(["kind", "method"], order, "size", "score").dropna()
        base = alt.Chart(lines, title=str(kind)).encode(
            x=alt.X("size:N", sort=order, title="size of the model", axis=alt.Axis(labelAngle=-30)),
            y=alt.Y("score:Q", title="oracle score"),
            color=alt.Color("method:N", title=None, scale=alt.Scale(scheme="tableau10")),
        )
        panels.append(_layers([_rule(0.0, "y"), base.mark_line(strokeWidth=2), base.mark_circle(size=30)], 260, HEIGHT))
    return alt.hconcat(*panels)


def reading_chart(lines: pd.DataFrame) -> alt.ConcatChart:
    """A panel per measure: its value at every model against the dial, and a line through the means."""
    panels = []
    for (reading, measure), part in lines.groupby(["reading", "measure"]):
        means = part.groupby("dial")["value"].mean().reset_index()
        x, y = alt.X("dial:Q", title="shared names"), alt.Y("value:Q", title=None)
        line = alt.Chart(means, title=f"{reading}: {measure}").mark_line(strokeWidth=2, color=PALETTE[0])
        dots = alt.Chart(part).mark_circle(size=30, opacity=0.6, color=PALETTE[0])
        panels.append(_layers([line.encode(x=x, y=y), dots.encode(x=x, y=y)], 170, 110))
    return alt.concat(*panels, columns=4)


def _rule(at: float, axis: str = "x") -> alt.Chart:
    line = alt.Chart().mark_rule(color=GREY, strokeDash=[3, 3])
    return line.encode(x=alt.datum(at)) if axis == "x" else line.encode(y=alt.datum(at))


def _layers(layers: list[alt.Chart], width: int, height: int) -> alt.LayerChart:
    return alt.LayerChart(layer=layers, width=width, height=height)
