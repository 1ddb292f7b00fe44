"""Pareto fronts as small multiples: generalisation against specificity, a panel per rung."""

from __future__ import annotations

from editing.lazy import altair as alt
from editing.lazy import pandas as pd
from valley.report.charts.common import ROWS, Chart, dress, kinds_of, marks, named, records, tooltips
from valley.text import clean

SCORES = tuple(f"{s}{e}" for s in ("generalisation", "specificity") for e in ("", "_low", "_high"))
COLUMNS = ["panel", "kind", "method", "settings", "n", "role", "score", *SCORES, "front"]


def plane_chart(name: str, plane: pd.DataFrame) -> Chart | None:
    """Every setting, the front, the best with intervals.

    Args:
        plane: `valley.scores.points.points` of one ladder.

    Returns:
        None if it is empty.
    """
    if plane.empty:
        return None
    shown = named(plane)
    role = ["placebo" if c else "best" if b else "other" for c, b in zip(shown["control"], shown["best"], strict=True)]
    shown = shown.assign(panel=[clean(r) for r in shown["rung"]], role=role)
    color, shape = marks(kinds_of(shown))
    pick = alt.selection_point(fields=["kind"], bind="legend")
    domain = alt.Scale(domain=[-0.05, 1.05], nice=False)  # marks at 0 and 1 stay inside the frame
    ticks = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".2~f")
    x = alt.X("specificity:Q", scale=domain, axis=ticks, title="specificity")
    y = alt.Y("generalisation:Q", scale=domain, axis=ticks, title="generalisation")
    base = alt.Chart().encode(color=color, opacity=alt.condition(pick, alt.value(1), alt.value(0.08)))
    best = base.transform_filter("datum.role == 'best'")
    tips = tooltips(("panel", "kind", "role", "method", "settings"),
                    {"generalisation": ".2f", "specificity": ".2f", "score": ".2f", "n": "d"})  # fmt: skip
    across = best.mark_rule(strokeWidth=1.4).encode(
        x=alt.X("specificity_low:Q", title=""), x2="specificity_high:Q", y=y
    )
    upright = best.mark_rule(strokeWidth=1.4).encode(
        x=x, y=alt.Y("generalisation_low:Q", title=""), y2="generalisation_high:Q"
    )
    front = base.transform_filter("datum.front && datum.role != 'placebo'").mark_line(strokeWidth=1.3).encode(
        x=x, y=y, order="specificity:Q")  # fmt: skip
    dots = base.mark_point(size=45).encode(
        x=x, y=y, shape=shape, tooltip=tips,
        fill=alt.condition("datum.role == 'best'", color, alt.value("transparent")),
        size=alt.condition("datum.role == 'best'", alt.value(100), alt.value(32)),
        strokeDash=alt.condition("datum.role == 'placebo'", alt.value([2, 2]), alt.value([1, 0])),
    )  # fmt: skip
    panels = list(dict.fromkeys(shown["panel"]))
    side, columns = (225, min(4, len(panels))) if len(panels) <= 8 else (140, 6)
    chart = (
        alt.layer(front.add_params(pick), across, upright, dots, data=alt.NamedData(name=ROWS))
        .properties(width=side, height=side)
        .facet(facet=alt.Facet("panel:N", title=None, sort=panels), columns=columns)
    )
    label = "Scatter plots of generalisation against specificity; the best settings are in the table of the curve"
    note = (
        "Filled: the best setting, with 95% intervals. Hollow: another setting. Dashed: the placebo.",
        "Line: the Pareto front.",
    )
    title = "Generalisation against specificity"
    return Chart(name, label, {"": dress(chart)}, records(shown, COLUMNS), title=title, note=note)
