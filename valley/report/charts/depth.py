"""Charts over the layers of a model: the best score at each depth of each rung, and crispness by layer."""

from __future__ import annotations

from editing.lazy import altair as alt
from editing.lazy import pandas as pd
from valley.report.charts.common import CLICK, INK, PALETTE, ROWS, Chart, dress, kinds_of, named, records, tooltips
from valley.rows import LABELS
from valley.statistics import size_of
from valley.text import clean

MEASURES = {
    "C_key": "key contrast (C_key)", "C_align": "alignment (C_align)", "C_patch": "patching (C_patch)",
    "C_dir": "direction (C_dir)",
}  # fmt: skip
CONTROLS = {
    "none": "measured",
    "untrained": "untrained model",
    "random": "random partner",
    "shuffled": "pairs shuffled",
}
RUNG_INKS = (*PALETTE, INK)
FAVOURITE = "cheese"
MEAN = "mean of all concepts"


def depth_chart(name: str, scores: pd.DataFrame) -> Chart | None:
    """Heat map of depth x rung, a panel per edit kind.

    Args:
        scores: `valley.scores.figure_tables.depth_scores` of one ladder.

    Returns:
        None unless some rung was edited at two depths.
    """
    if scores.empty or scores.groupby("rung")["depth"].nunique().max() < 2:
        return None
    shown = named(scores)
    shown = shown.assign(rung=[clean(r) for r in shown["rung"]])
    rungs = list(dict.fromkeys(shown["rung"]))
    kinds = [LABELS.get(k, clean(k)) for k in kinds_of(shown)]
    x = alt.X("rung:N", sort=rungs, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=130))
    y = alt.Y("depth:O", sort="descending", title="depth (0: first layer, 1: last)")
    ramp = alt.Scale(scheme="viridis", domain=[0, 1])
    fill = alt.Color("value:Q", scale=ramp, legend=alt.Legend(title="best score", format=".1f"))
    tips = tooltips(("rung", "kind", "depth", "method", "settings"), {"value": ".2f", "n": "d"})
    base = alt.Chart().encode(x=x, y=y)
    cells = base.mark_rect().encode(color=fill, tooltip=tips)
    ink = alt.condition("datum.value > 0.6", alt.value("#000000"), alt.value("#ffffff"))
    text = base.mark_text(fontSize=11).encode(text=alt.Text("value:Q", format=".2f"), color=ink)
    step = 46 if len(rungs) <= 8 else 32
    chart = (
        alt.layer(cells, text, data=alt.NamedData(name=ROWS))
        .properties(width=step * len(rungs), height=26 * shown["depth"].nunique())
        .facet(facet=alt.Facet("kind:N", title=None, sort=kinds), columns=max(1, 18 // max(1, len(rungs))))
    )
    columns = ["rung", "kind", "depth", "value", "n", "method", "settings"]
    return Chart(name, "Heat maps of the best score by depth and model", {"": dress(chart)},
                 records(shown, columns), title="Best score by depth and model")  # fmt: skip


def crispness_chart(table: pd.DataFrame, rungs: list[str]) -> Chart | None:
    """The four measures against depth, a line per size (mean over its seeds), controls broken; cheese, and the mean of
    all concepts.

    Args:
        table: a crispness table, see `valley.rows.readings.CRISPNESS`. rungs: those that come first, in this order.

    Returns:
        None if it holds none of the measures.
    """
    shown = table[table["measure"].isin(MEASURES) & table["direction"].eq("both") & table["control"].isin(CONTROLS)]
    shown = shown.dropna(subset=["value"]).assign(rung=shown["rung"].map(size_of))
    if shown.empty:
        return None
    rungs = list(dict.fromkeys(size_of(rung) for rung in rungs))
    key = ["rung", "layer", "depth", "measure", "control"]
    concepts = list(dict.fromkeys(shown["concept"]))
    chosen = [FAVOURITE] if FAVOURITE in concepts else concepts[:1]
    views = {_title(shown, concept): shown[shown["concept"] == concept] for concept in chosen}
    if len(concepts) > 1:
        views[f"{MEAN} ({len(concepts)})"] = shown
    views = {title: part.groupby(key, sort=False)["value"].mean().reset_index() for title, part in views.items()}
    parts = [part.assign(choice=clean(choice)) for choice, part in views.items()]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(rung=[clean(r) for r in rows["rung"]], measure=rows["measure"].map(MEASURES),
                       control=rows["control"].map(CONTROLS))  # fmt: skip
    first = [clean(r) for r in rungs]
    order = sorted(set(rows["rung"]), key=lambda r: (first.index(r) if r in first else len(first), r))
    rows = rows.sort_values(["choice", "measure", "control", "depth"], kind="stable")
    columns = ["choice", *key, "value"]
    label = "Line charts of four measures of crispness against depth"
    return Chart(
        "crispness",
        label,
        {clean(c): _crisp_view(clean(c), rows, order) for c in views},
        records(rows, columns),
        "Concept" if len(views) > 1 else "",
        "Crispness by depth: {choice}",
    )


def _title(table: pd.DataFrame, concept: str) -> str:
    if not {"en", "fr"} <= set(table):
        return concept
    line = table[table["concept"] == concept].iloc[0]
    return f"{line['en']} / {line['fr']}"


def _crisp_view(choice: str, rows: pd.DataFrame, rungs: list[str]) -> dict:
    quiet = [c for c in CONTROLS.values() if c in set(rows["control"])]
    dash = alt.StrokeDash(
        "control:N",
        sort=quiet,
        title="control",
        legend=alt.Legend(symbolType="stroke", symbolSize=300),
        scale=alt.Scale(domain=quiet, range=[[1, 0], [2, 3], [7, 3], [7, 3, 2, 3]][: len(quiet)]),
    )
    pick = alt.selection_point(fields=["rung"], bind="legend")
    few = len(rungs) <= len(RUNG_INKS)
    shades = (
        alt.Scale(domain=rungs, range=list(RUNG_INKS[: len(rungs)]))
        if few
        else alt.Scale(domain=rungs, scheme="viridis")
    )
    measures = [m for m in MEASURES.values() if m in set(rows["measure"])]
    chart = (
        alt.Chart(alt.NamedData(name=ROWS))
        .transform_filter(alt.FieldEqualPredicate(field="choice", equal=choice))
        .mark_line(point=alt.OverlayMarkDef(size=26))
        .encode(
            x=alt.X("depth:Q", title="depth (0: first layer, 1: last)", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("value:Q", title=None),
            color=alt.Color("rung:N", scale=shades, title=f"model{CLICK}", sort=rungs),
            strokeDash=dash,
            opacity=alt.condition(pick, alt.value(0.9), alt.value(0.05)),
            tooltip=tooltips(("rung", "measure", "control"), {"layer": "d", "depth": ".2f", "value": ".3f"}),
        )
        .add_params(pick)
        .properties(width=340, height=170)
        .facet(facet=alt.Facet("measure:N", title=None, sort=measures), columns=2)
        .resolve_scale(y="independent")
    )  # fmt: skip
    return dress(chart)
