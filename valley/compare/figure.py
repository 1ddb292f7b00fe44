"""The editability curves of two runs over each other, as PNG and SVG: A drawn through, B dashed, a panel per kind, method or ladder.

Each curve is its run's own, at its own best settings and on its own known cases, of the probe kinds that both runs asked.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from valley.rows.files import write_whole
from valley.rows.kinds import ALL, CONTROLS, LABELS, kind_order
from valley.scores.curve import analyse

# Colour, dash, mark, its fill and size: B is hollow and larger, so that A shows where they are equal.
RUNS = {"A": ("#0072B2", "-", "o", "#0072B2", 5.5), "B": ("#D55E00", (0, (4, 2)), "s", "none", 9)}
GREY = "#5f6368"
SIZE = 9.5


def write_overlay(
    runs: dict[str, pd.DataFrame], folder: Path, by: str = "", min_known: int = 50, which: str = "known"
) -> list[Path]:
    """Draw `overlay.png` and `overlay.svg` into `folder`, made if need be: their paths.

    Args:
        runs: "A" and "B" -> rows. by: "method" gives a panel per method; "ladder" one of all kinds; else one per edit kind.

    Raises:
        RowsError: unsound rows, or the folder cannot be written.
    """
    figure = overlay({name: panels(rows, by, min_known, which) for name, rows in of_both(runs).items()})
    FigureCanvasAgg(figure)
    written = []
    for form, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        with matplotlib.rc_context({"svg.hashsalt": "editbench"}):  # else an SVG's names differ from call to call
            path = write_whole(
                folder / f"overlay.{form}",
                lambda file, form=form, metadata=metadata: figure.savefig(
                    file, format=form, dpi=150, metadata=metadata
                ),
                "figure",
            )
        written.append(path)
    return written


def of_both(runs: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The rows of each run without probe kinds that another run did not ask of that edit kind: else a curve moves by what is asked."""
    asked = {name: rows["edit_kind"] + "/" + rows["probe"] for name, rows in runs.items()}
    shared = set.intersection(*(set(kinds) for kinds in asked.values()))
    return {name: rows[asked[name].isin(shared) | (rows["error"] != "")] for name, rows in runs.items()}


def panels(rows: pd.DataFrame, by: str, min_known: int, which: str) -> dict[str, pd.DataFrame]:
    """Name of a panel -> the lines of `valley.scores.curve` that it shows."""
    if by == "method":
        names = sorted(set(rows["method"]) - {*CONTROLS, ""})
        found = {n: analyse(rows, min_known, which=which, methods=[n]).curve for n in names}
        return {name: table[table["edit_kind"] == ALL] for name, table in found.items()}
    table = analyse(rows, min_known, which=which).curve
    kinds = [ALL] if by == "ladder" else sorted(set(table["edit_kind"]), key=kind_order)
    if len(kinds) == 2:  # one kind and "all kinds": the same curve
        kinds = [kind for kind in kinds if kind != ALL]
    return {LABELS.get(kind, kind): table[table["edit_kind"] == kind] for kind in kinds}


def overlay(runs: dict[str, dict[str, pd.DataFrame]]) -> Figure:
    """A figure with one panel per name that any run has."""
    names = list(dict.fromkeys(name for found in runs.values() for name in found))
    columns = min(2, len(names))
    figure = Figure(
        figsize=(5 * columns, 3.2 * -(-len(names) // columns) + 0.4), facecolor="white", layout="constrained"
    )
    grid = figure.subplots(-(-len(names) // columns), columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, names, strict=False):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e8ea", lw=0.8)
        axes.set_axisbelow(True)
        axes.set_title(name.replace("$", r"\$"), fontsize=SIZE + 1, loc="left")
        missing = [run for run, found in runs.items() if name not in found or not _draw(axes, run, found[name])]
        if missing:
            axes.text(
                0.03,
                0.03,
                f"not measurable: {', '.join(missing)}",
                transform=axes.transAxes,
                fontsize=SIZE - 1,
                color=GREY,
            )
        axes.set(ylim=(-0.02, 1.03))
        axes.xaxis.set_major_formatter(lambda value, _: f"{-value:g}")
        axes.tick_params(colors=GREY, labelsize=SIZE - 1)
    figure.supxlabel("bits per byte of English text (stronger to the right)", fontsize=SIZE)
    figure.supylabel("editability (best harmonic mean)", fontsize=SIZE)
    handles = [
        Line2D([], [], color=c, ls=ls, marker=m, mfc=fill, ms=size, label=f"run {run}")
        for run, (c, ls, m, fill, size) in RUNS.items()
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize=SIZE)
    return figure


def _draw(axes: Axes, run: str, lines: pd.DataFrame) -> bool:
    """One run's curve with its intervals; False where there is nothing to draw."""
    shown = lines.dropna(subset=["strength_bits_per_byte", "harmonic_mean"]).sort_values(
        "strength_bits_per_byte", kind="stable"
    )
    colour, dash, mark, fill, size = RUNS[run]
    x, y, low, high = (
        shown[c].to_numpy(float)
        for c in ("strength_bits_per_byte", *(f"harmonic_mean{e}" for e in ("", "_low", "_high")))
    )
    bounded = ~np.isnan(low)
    axes.vlines(x[bounded], low[bounded], high[bounded], color=colour, lw=1.3, alpha=0.8)
    axes.plot(x, y, color=colour, ls=dash, marker=mark, lw=1.6, mfc=fill, ms=size)
    return bool(len(shown))
