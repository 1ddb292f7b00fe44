"""Altair charts as PNG files: one look for every picture of this package, drawn without a network, written whole."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from editing.files import atomic_file
from editing.lazy import altair as alt

# Okabe and Ito's palette, safe for the common kinds of colour blindness; dashes repeat in print what colours say.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 1], [1, 3], [10, 4])
INK, GREY = "#1c1e21", "#5f6368"
SCALE = 2  # pixels per unit of the chart
COLOURS = 128


def write_png(chart: alt.TopLevelMixin, path: Path) -> None:
    """Draw `chart` into the PNG file `path`, made whole or not at all, in COLOURS colours: a tenth of the bytes.

    Raises:
        BadData: the folder cannot be written.
    """
    styled = (
        chart.properties(background="white", padding=12)
        .configure(font="sans-serif")
        .configure_view(stroke=None)
        .configure_axis(labelColor=INK, titleColor=INK, titleFontWeight="normal", labelFontSize=12, titleFontSize=12,
                        labelFlush=False, gridOpacity=0.5)
        .configure_legend(labelColor=INK, titleColor=INK, labelFontSize=12, titleFontSize=12, labelLimit=300,
                          symbolSize=220, symbolStrokeWidth=2)
        .configure_header(labelColor=INK, labelFontSize=12, labelFontWeight="bold", labelLimit=300)
        .configure_title(color=INK, fontSize=13, anchor="start")
    )  # fmt: skip
    with atomic_file(path) as temporary:
        styled.save(temporary, format="png", scale_factor=SCALE)
        with Image.open(temporary) as picture:
            small = picture.convert("RGB").quantize(COLOURS)
        small.save(temporary, format="png", optimize=True)


def heading(text: str) -> alt.TitleParams:
    """A title above several panels that have titles of their own."""
    return alt.TitleParams(text, fontSize=15, offset=14)


def lines_of(field: str, names: list[str], columns: int = 4) -> tuple[alt.Color, alt.StrokeDash]:
    """Colour and dash of the lines named in column `field`, one legend for both.

    From the eighth name on colours repeat darker, then lighter, with the next dash; the first name's colour is given to
    no other.

    Args:
        columns: names in one line of the legend.
    """
    legend = alt.Legend(title=None, symbolType="stroke", orient="bottom", direction="horizontal", columns=columns,
                        symbolOpacity=1)  # fmt: skip
    more = len(PALETTE) - 1
    styles = [(0, 0, 0)] + [(1 + i % more, i // more, 1 + (i + i // more) % more) for i in range(len(names) - 1)]
    colours = [shade(PALETTE[colour], turn) for colour, turn, _ in styles[: len(names)]]
    dashes = [DASHES[dash] for _, _, dash in styles[: len(names)]]
    return (
        alt.Color(f"{field}:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
        alt.StrokeDash(f"{field}:N", scale=alt.Scale(domain=names, range=dashes), legend=legend),
    )


def shade(colour: str, turn: int) -> str:
    """`colour` as "#rrggbb": itself, darker, lighter, in turns."""
    light, weight = ((0, 0.0), (0, 0.45), (255, 0.55))[turn % 3]
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + weight * (light - part)):02X}" for part in parts)
