"""The picture of `ladder table`: bits per byte and recall against size. Imports altair."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.pictures import GREY, lines_of
from benchmarks.world import LANGS, language_name
from editing.lazy import altair as alt
from editing.lazy import pandas as pd


def table_chart(table: pd.DataFrame, kinds: Mapping[str, str]) -> alt.HConcatChart:
    """Bits per byte and recall against parameters: a line through the means of the sizes, a dot for each seed.

    Args:
        kinds: kinds of sentence whose recall is drawn, with their names in the legend.
    """
    bits = {language_name(lang): table[f"bits_per_byte_world_{lang}"] for lang in LANGS}
    recall = {name: table[[f"recall_{kind}_{lang}" for lang in LANGS]].mean(axis=1) for kind, name in kinds.items()}
    chance = float(table[[f"chance_language_{lang}" for lang in LANGS]].to_numpy().mean())
    left = _panel(table, bits, "bits per byte (lower is stronger)", alt.Scale(zero=False))
    right = _panel(table, recall, "recall", alt.Scale(domain=[0, 1]))
    rule = alt.Chart().mark_rule(color=GREY).encode(y=alt.datum(chance))
    words = (
        alt.Chart()
        .mark_text(text="chance (other language)", color=GREY, align="right", dy=9)
        .encode(x=alt.datum(float(table["parameters"].max())), y=alt.datum(chance))
    )
    return alt.hconcat(
        left.properties(title="Bits per byte against parameters, wordings kept out of training"),
        alt.layer(right, rule, words).properties(title="Recall against parameters (a dot is one seed)"),
    ).resolve_scale(color="independent", strokeDash="independent")


def _panel(table: pd.DataFrame, series: dict[str, pd.Series], title: str, scale: alt.Scale) -> alt.LayerChart:
    """Named columns against parameters, on a logarithmic axis."""
    parts = [table[["size", "parameters"]].assign(value=values, series=name) for name, values in series.items()]
    seeds = pd.concat(parts, ignore_index=True).dropna(subset=["value"])
    means = seeds.groupby(["series", "size"], sort=False)[["parameters", "value"]].mean().reset_index()
    names = [name for name, values in series.items() if values.notna().any()]
    colour, dash = lines_of("series", names, columns=2)
    x = alt.X(
        "parameters:Q", scale=alt.Scale(type="log", nice=False, padding=12), axis=alt.Axis(format="~s", tickCount=5)
    )
    y = alt.Y("value:Q", title=title, scale=scale)
    line = alt.Chart(means).mark_line(strokeWidth=1.8).encode(x=x, y=y, color=colour, strokeDash=dash)
    dots = alt.Chart(seeds).mark_circle(size=28, opacity=0.6).encode(x=x, y=y, color=colour)
    return alt.LayerChart(layer=[line, dots], width=400, height=300)
