"""The editability curves of two runs over each other, as PNG and SVG: A solid, B dashed, a panel per kind, method or
ladder.

Each curve is its run's own, at its own best settings and on its own known cases, of the probe kinds that both runs
have.
"""

from __future__ import annotations

from pathlib import Path

from editing.lazy import altair as alt
from editing.lazy import pandas as pd
from valley.report import PALETTE, dress, records, still, write_image
from valley.rows import ALL, CONTROLS, LABELS, kind_order
from valley.scores import analyse
from valley.text import clean

COLUMNS = {
    "strength_bits_per_byte": "bits",
    "score": "value",
    "score_low": "low",
    "score_high": "high",
}
WIDTH, HEIGHT = 360, 220


def write_overlay(
    runs: dict[str, pd.DataFrame], folder: Path, by: str = "", min_known: int = 50, which: str = "known"
) -> list[Path]:
    """Draw `overlay.png` and `overlay.svg` into `folder`, made if need be: their paths.

    Args:
        runs: "A" and "B" -> rows. by: "method" gives a panel per method; "ladder" one of all kinds; else one per edit
            kind.

    Raises:
        RowsError: unsound rows, or the folder cannot be written.
    """
    curves = {run: panels(rows, by, min_known, which) for run, rows in of_both(runs).items()}
    spec = still(dress(overlay(points_of(curves))), "Editability against bits per byte, run A and run B")
    return [write_image(spec, folder / f"overlay.{form}") for form in ("png", "svg")]


def of_both(runs: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The rows of each run without probe kinds that another run did not ask of that edit kind: else the set of
    questions moves a curve."""
    probes_of = {name: rows["edit_kind"] + "/" + rows["probe"] for name, rows in runs.items()}
    shared = set.intersection(*(set(kinds) for kinds in probes_of.values()))
    return {name: rows[probes_of[name].isin(shared) | (rows["error"] != "")] for name, rows in runs.items()}


def panels(rows: pd.DataFrame, by: str, min_known: int, which: str) -> dict[str, pd.DataFrame]:
    """Name of a panel -> the lines of `valley.scores.curve` that it shows."""
    if by == "method":
        names = sorted(set(rows["method"]) - {*CONTROLS, ""})
        curves = {name: analyse(rows, min_known, which=which, methods=[name]).curve for name in names}
        return {name: table[table["edit_kind"] == ALL] for name, table in curves.items()}
    table = analyse(rows, min_known, which=which).curve
    kinds = [ALL] if by == "ladder" else sorted(set(table["edit_kind"]), key=kind_order)
    if len(kinds) == 2:  # one kind and "all kinds": the same curve
        kinds = [kind for kind in kinds if kind != ALL]
    return {LABELS.get(kind, kind): table[table["edit_kind"] == kind] for kind in kinds}


def points_of(curves: dict[str, dict[str, pd.DataFrame]]) -> pd.DataFrame:
    """What the overlay draws, a line per point: panel, run, bits (per byte), value, low, high, missing.

    A panel in which a run has no point has one line that says so in `missing`.

    Args:
        curves: run -> name of a panel -> lines of `valley.scores.curve`.
    """
    names = list(dict.fromkeys(name for curve in curves.values() for name in curve))
    parts = []
    for name in names:
        absent = []
        for run, curve in curves.items():
            lines = curve[name][list(COLUMNS)].rename(columns=COLUMNS) if name in curve else pd.DataFrame()
            lines = lines.dropna(subset=["bits", "value"]) if len(lines) else lines
            absent += [] if len(lines) else [run]
            parts.append(lines.assign(panel=clean(name), run=f"run {run}"))
        note = f"not measurable: {', '.join(absent)}" if absent else None
        parts.append(pd.DataFrame({"panel": [clean(name)], "missing": [note]}))
    table = pd.concat(parts, ignore_index=True).reindex(columns=["panel", "run", *COLUMNS.values(), "missing"])
    return table.assign(bits=-table["bits"].astype("float64"))


def overlay(points: pd.DataFrame) -> alt.ConcatChart:
    """Both runs' curves with their intervals, a panel per name.

    Args:
        points: as `points_of` gives them.
    """
    names = list(dict.fromkeys(points["panel"]))
    return alt.concat(*(_panel(points[points["panel"] == name], name) for name in names), columns=2)


def _panel(points: pd.DataFrame, name: str) -> alt.LayerChart:
    runs = ["run A", "run B"]
    legend = alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolSize=300, symbolOpacity=1)
    colour = alt.Color("run:N", scale=alt.Scale(domain=runs, range=list(PALETTE[:2])), legend=legend)
    dash = alt.StrokeDash("run:N", scale=alt.Scale(domain=runs, range=[[1, 0], [6, 3]]), legend=legend)
    x = alt.X("bits:Q", title="bits per byte of English text (stronger to the right)", axis=alt.Axis(tickCount=6),
              scale=alt.Scale(zero=False, reverse=True, nice=False, padding=16))  # fmt: skip
    y = alt.Y("value:Q", title="editability: score", scale=alt.Scale(domain=[0, 1]))
    measured, missing = points[points["value"].notna()], points[points["missing"].notna()]
    drawn = alt.Chart(_data(measured)).encode(x=x, color=colour)
    marks = [
        drawn.mark_rule(strokeWidth=1.4).encode(y=alt.Y("low:Q", title=""), y2="high:Q"),
        drawn.mark_line(strokeWidth=1.8).encode(y=y, strokeDash=dash),
        # B is hollow and larger, so that A shows where they are equal
        drawn.transform_filter("datum.run == 'run A'").mark_point(filled=True, size=50, opacity=1).encode(y=y),
        drawn.transform_filter("datum.run == 'run B'").mark_point(shape="square", size=120).encode(y=y),
        alt.Chart(_data(missing)).mark_text(align="left", fontSize=12).encode(
            x=alt.value(8), y=alt.value(HEIGHT - 10), text="missing:N"
        ),
    ]  # fmt: skip
    title = alt.TitleParams(name, anchor="start", fontSize=12)
    return alt.LayerChart(layer=marks, width=WIDTH, height=HEIGHT, title=title)


def _data(points: pd.DataFrame) -> alt.Data:
    return alt.Data(values=records(points, list(points.columns)))
