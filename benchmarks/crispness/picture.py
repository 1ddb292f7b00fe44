"""The picture: one pair's four measures by layer against their controls, a row per measure and a column per rung."""

from __future__ import annotations

from benchmarks.crispness.measure import MEASURES
from benchmarks.pictures import heading, lines_of
from editing.lazy import altair as alt
from editing.lazy import pandas as pd

CONTROL_NAMES = {
    "none": "measured",
    "random": "random concept",
    "shuffled": "shuffled pairs",
    "untrained": "untrained model",
}
TITLES = {
    "C_key": ["C_key: leak to", "translation less", "leak to siblings"],
    "C_align": ["C_align: mutual", "neighbours (corrected", "for chance)"],
    "C_patch": ["C_patch: P(name)", "less that of a", "random state"],
    "C_dir": ["C_dir: cosine of", "English and French", "edit vectors"],
}
LEAST = 0.05  # a panel shows at least this much around 0, so that noise near 0 does not fill it


def crispness_chart(table: pd.DataFrame) -> alt.VConcatChart:
    """The first concept of a crispness table (cheese/fromage where it is measured)."""
    concept = table["concept"].iloc[0]
    pair = table[(table["concept"] == concept) & (table["direction"] == "both")].dropna(subset=["value"])
    pair = pair[pair["control"].isin(CONTROL_NAMES) & pair["measure"].isin(MEASURES)]
    measures = [measure for measure in MEASURES if measure in set(pair["measure"])]
    rows = [_row(pair[pair["measure"] == measure], measure, i == 0) for i, measure in enumerate(measures)]
    place = list(table.columns).index("concept")  # its two names follow
    names = " / ".join(table.iloc[0, place + 1 : place + 3])
    return alt.vconcat(*rows, title=heading(f"Crispness by layer: {names}"))


def _row(part: pd.DataFrame, measure: str, names: bool) -> alt.FacetChart:
    """Panels of one measure, a rung each, on one vertical axis; above them the rungs' `names`."""
    low, high = min(part["value"].min(), -LEAST), max(part["value"].max(), LEAST)
    shown = part[["rung", "layer", "value"]].assign(control=part["control"].map(CONTROL_NAMES))
    rungs = list(dict.fromkeys(shown["rung"]))
    colour, dash = lines_of("control", list(CONTROL_NAMES.values()))
    base = alt.Chart(shown).encode(
        x=alt.X("layer:Q", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False)),
        y=alt.Y("value:Q", title=TITLES[measure], scale=alt.Scale(domain=[low, high], nice=True)),
        color=colour,
    )
    zero = alt.Chart(shown).mark_rule(color="#aaaaaa").encode(y=alt.datum(0))
    layers = alt.layer(zero, base.mark_line(strokeWidth=1.8).encode(strokeDash=dash), base.mark_circle(size=22))
    return (
        layers.properties(width=300, height=140)
        .facet(column=alt.Column("rung:N", title=None, sort=rungs, header=alt.Header(labels=names)))
        .resolve_scale(x="independent")
    )
