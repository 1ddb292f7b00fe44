"""What all charts share: their form, colours and dress (Altair), the JavaScript that draws them offline, and PNG and
SVG files.

On the page, text and axes are `currentColor`, so its light, dark and print colours apply without drawing again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import vl_convert

from editing.lazy import altair as alt
from editing.lazy import pandas as pd
from valley.rows import ALL, LABELS, kind_order, write_whole
from valley.text import clean

# Okabe and Ito's palette, safe for the common kinds of colour blindness; shapes and dashes repeat what colours say.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COLOURS: dict[str, str] = dict(zip(("fact", "rename", "retarget", "erase"), PALETTE, strict=False))
OTHER = "#CC79A7"  # an edit kind not named above
SHAPES = {"fact": "circle", "rename": "square", "retarget": "triangle-up", "erase": "cross", ALL: "diamond"}
INK = "currentColor"
STILL_INK = "#1c1e21"  # of files, where no page says what the current colour is
ROWS = "rows"  # name under which a chart's views find its records
CLICK = " (click to single out)"  # of a legend on the page; a file's legend does not say it
SCALE = 2.0  # pixels of a PNG per unit of the chart


@dataclass(frozen=True)
class Chart:
    """One chart with a view per choice of its switch.

    Attributes:
        name: unique on the page, fit for a file's name.
        label: for those who do not see it. switch: what the choice is of; empty where there is one view only.
        views: text of a choice -> Vega-Lite specification whose data are named ROWS.
        rows: the records that all views draw.
        title: heading of a file; `{choice}` in it is the view's choice. note: what its marks are, a line each.
    """

    name: str
    label: str
    views: dict[str, dict]
    rows: list[dict] = field(default_factory=list)
    switch: str = ""
    title: str = ""
    note: tuple[str, ...] = ()

    def still(self, choice: str | None = None) -> dict:
        """One view as a whole specification for a file: own data and title, dark ink on white."""
        choice = next(iter(self.views)) if choice is None else choice
        view = self.views[choice]
        return still(
            view | {"datasets": {**view.get("datasets", {}), ROWS: self.rows}},
            self.title.format(choice=choice),
            self.note,
        )


def still(spec: dict, title: str, note: tuple[str, ...] = ()) -> dict:
    """`spec` (with its data, as `dress` makes it) for a file: with a title, and lines below it; dark ink on white."""
    spec = json.loads(json.dumps(spec).replace(INK, STILL_INK).replace(CLICK, ""))
    spec["config"]["background"] = "white"
    heading = {"text": title, "subtitle": list(note), "anchor": "start", "frame": "bounds", "fontSize": 15,
               "subtitleFontSize": 12, "subtitleColor": STILL_INK, "offset": 10, "subtitlePadding": 6}  # fmt: skip
    return spec | {"title": heading, "padding": 12}


def write_image(spec: dict, path: Path) -> Path:
    """Draw a specification into `path`, as PNG or SVG by its suffix: the path.

    Raises:
        RowsError: the file cannot be written.
    """
    text = json.dumps(spec)
    if path.suffix == ".png":
        data = vl_convert.vegalite_to_png(text, vl_version=vega_lite(), scale=SCALE)
    else:
        data = vl_convert.vegalite_to_svg(text, vl_version=vega_lite()).encode()
    return write_whole(path, data)


@cache
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
    legend = alt.Legend(title=f"edit kind{CLICK}", orient="bottom", direction="horizontal", symbolSize=90)
    names = [LABELS.get(k, clean(k)) for k in kinds]
    inks = [INK if k == ALL else COLOURS.get(k, OTHER) for k in kinds]
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
            "titleFontWeight": "normal", "labelFlush": False}  # fmt: skip
    words = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
    spec = chart.to_dict(validate=False)
    spec["config"] = {
        "background": "transparent", "font": "system-ui, sans-serif", "view": {"stroke": None}, "axis": axis,
        "legend": words | {"titleFontWeight": "normal", "labelLimit": 300},
        "header": words | {"labelFontWeight": "bold", "labelAnchor": "start", "labelLimit": 240},
        "title": {"color": INK}, "text": {"color": INK},
    }  # fmt: skip
    return spec
