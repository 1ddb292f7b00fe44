"""What the page's interactive charts share: their form, colours and dress (Altair), and the JavaScript that draws them offline.

Text and axes are `currentColor`, so the page's light, dark and print colours apply without drawing again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import altair as alt
import pandas as pd
import vl_convert

from valley.report.style import colour
from valley.rows.kinds import ALL, LABELS, kind_order
from valley.text.curve import clean

SHAPES = {"fact": "circle", "rename": "square", "retarget": "triangle-up", ALL: "diamond"}
INK = "currentColor"
STILL_INK = "#1c1e21"  # of files, where no page says what the current colour is
ROWS = "rows"  # name under which a chart's views find its records


@dataclass(frozen=True)
class Chart:
    """One chart with a view per choice of its switch.

    Attributes:
        name: unique on the page, fit for a file's name.
        label: for those who do not see it. switch: what the choice is of; empty where there is one view only.
        views: text of a choice -> Vega-Lite specification whose data are named ROWS.
        rows: the records that all views draw.
    """

    name: str
    label: str
    views: dict[str, dict]
    rows: list[dict] = field(default_factory=list)
    switch: str = ""

    def still(self, choice: str | None = None) -> dict:
        """One view as a whole specification for a file: own data, dark ink on white."""
        view = self.views[choice or next(iter(self.views))]
        text = json.dumps(view | {"datasets": {**view.get("datasets", {}), ROWS: self.rows}})
        spec = json.loads(text.replace(INK, STILL_INK))
        spec["config"]["background"] = "white"
        return spec | {"padding": 12}


def javascript() -> str:
    """Vega, Vega-Lite and vega-embed in one script for the Vega-Lite version Altair writes; safe inside <script>."""
    bundle = vl_convert.javascript_bundle(vl_version=vega_lite())  # pyright: ignore[reportCallIssue]
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def vega_lite() -> str:
    """Version of Vega-Lite that Altair writes, such as v5.20."""
    return "v" + ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def records(table: pd.DataFrame, columns: list[str]) -> list[dict]:
    """`columns` as plain values, None for NaN, text cleaned of control characters."""
    return [
        {k: None if pd.isna(v) else clean(v) if isinstance(v, str) else v for k, v in zip(columns, line, strict=True)}
        for line in table[columns].astype(object).itertuples(index=False, name=None)
    ]


def named(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with the readable name of the edit kind as `kind`."""
    return table.assign(kind=[LABELS.get(str(k), clean(k)) for k in table["edit_kind"]])


def kinds_of(table: pd.DataFrame) -> list[str]:
    return sorted(set(table["edit_kind"]), key=kind_order)


def marks(kinds: list[str]) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape by edit kind, one legend for both."""
    legend = alt.Legend(title="edit kind (click to single out)", orient="bottom", direction="horizontal", symbolSize=90)
    names = [LABELS.get(k, clean(k)) for k in kinds]
    inks = [INK if k == ALL else colour(k) for k in kinds]
    shapes = [SHAPES.get(k, "triangle-down") for k in kinds]
    return (
        alt.Color("kind:N", scale=alt.Scale(domain=names, range=inks), legend=legend),
        alt.Shape("kind:N", scale=alt.Scale(domain=names, range=shapes), legend=legend),
    )


def tooltips(words: tuple[str, ...], numbers: dict[str, str]) -> list[alt.Tooltip]:
    """Tooltips of texts, and of numbers with their d3 formats."""
    tips = [alt.Tooltip(f"{name}:N", title=name.replace("_", " ")) for name in words]
    return tips + [alt.Tooltip(f"{n}:Q", title=n.replace("_", " "), format=f) for n, f in numbers.items()]


def dress(chart: alt.TopLevelMixin) -> dict:
    """The specification with the page's colours and type."""
    axis = {"labelColor": INK, "titleColor": INK, "domainColor": INK, "tickColor": INK, "domainOpacity": 0.5,
            "gridColor": INK, "gridOpacity": 0.12, "tickOpacity": 0.5, "labelFontSize": 12, "titleFontSize": 12,
            "titleFontWeight": "normal"}  # fmt: skip
    words = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
    spec = chart.to_dict()
    spec["config"] = {
        "background": "transparent", "font": "system-ui, sans-serif", "view": {"stroke": None}, "axis": axis,
        "legend": words | {"titleFontWeight": "normal", "labelLimit": 300},
        "header": words | {"labelFontWeight": "bold", "labelAnchor": "start", "labelLimit": 240},
        "title": {"color": INK}, "text": {"color": INK},
    }  # fmt: skip
    return spec
