"""The two figures as PNG: generalisation against specificity per rung, and editability against strength.

Figure objects with the Agg canvas, no pyplot: nothing global changes, and the same rows give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.interpolate import PchipInterpolator

from valley.report.style import CONJECTURE, colour, shape
from valley.rows.files import write_whole
from valley.rows.kinds import ALL, LABELS, RUNG, kind_order
from valley.scores.curve import Analysis, analyse
from valley.scores.points import points
from valley.text.curve import clean, short

GREY = "#5f6368"
SIZE = 9.5  # points, body text


def write_figures(
    rows: pd.DataFrame,
    folder: str | Path,
    min_known: int = 50,
    draws: int = 1000,
    seed: int = 0,
    *,
    analysis: Analysis | None = None,
) -> list[Path]:
    """Draw both figures of each ladder into `folder` (made if need be): the paths of the PNG files.

    Args:
        rows, min_known, draws, seed: as in `valley.scores.curve.curve`.
        analysis: what `valley.scores.curve.analyse` gave, to spare doing it again.

    Raises:
        RowsError: unsound rows, or the folder cannot be written.
    """
    analysis = analysis or analyse(rows, min_known, draws, seed)
    folder = Path(folder)
    written = []
    ladders = sorted(set(analysis.curve["ladder"]))
    plane = points(analysis)
    for i, ladder in enumerate(ladders):
        tail = "" if len(ladders) == 1 else f"-{i + 1}"
        lines = analysis.curve[analysis.curve["ladder"] == ladder]
        front = generalisation_against_specificity(plane[plane["ladder"] == ladder], lines)
        written.append(_save(front, folder / f"generalisation_specificity{tail}.png"))
        written.append(_save(editability_against_strength(lines), folder / f"editability_strength{tail}.png"))
    return written


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure)
    return write_whole(
        path, lambda file: figure.savefig(file, format="png", dpi=150, metadata={"Software": None}), "figure"
    )


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=GREY, labelsize=SIZE - 1)
    axes.set_axisbelow(True)


def _rungs(lines: pd.DataFrame) -> list[dict]:
    own = lines[lines["edit_kind"] == ALL].sort_values(["rung_index", "rung"], kind="stable")
    return [{str(k): v for k, v in record.items()} for record in own.to_dict("records")]


def _name(text: str, width: int = 22) -> str:
    return short(clean(text), width).replace("$", r"\$")


def generalisation_against_specificity(plane: pd.DataFrame, lines: pd.DataFrame) -> Figure:
    """One panel per rung: a faint point for each setting, the Pareto front as a line, the best setting as a cross."""
    rungs = _rungs(lines)
    columns = min(3, max(1, len(rungs)))
    n_rows = -(-len(rungs) // columns)
    figure = Figure(figsize=(3.15 * columns + 0.5, 2.95 * n_rows + 1.15), facecolor="white", layout="constrained")
    grid = figure.subplots(n_rows, columns, squeeze=False, sharex=True, sharey=True)
    kinds = sorted((k for k in set(lines["edit_kind"]) if k != ALL), key=kind_order)
    for axes in grid.flat[len(rungs) :]:
        axes.set_visible(False)
    for place, (axes, rung) in enumerate(zip(grid.flat, rungs, strict=False)):
        _plain(axes)
        _contours(axes, labels=place == 0)
        here = plane[np.logical_and.reduce([plane[k] == rung[k] for k in RUNG])]
        _panel(axes, here, kinds)
        strength = (
            "bits per byte n/a" if pd.isna(rung["bits_per_byte_en"]) else f"{rung['bits_per_byte_en']:.2f} bits/byte"
        )
        axes.set_title(f"{_name(rung['rung'])}\n", fontsize=SIZE + 1, loc="left", color="black", pad=3)
        axes.text(0, 1.02, strength, transform=axes.transAxes, fontsize=SIZE - 1.5, color=GREY, va="bottom")
        missing = [k for k in kinds if here[~here["control"] & (here["edit_kind"] == k)].empty]
        if missing:
            reasons = lines[(lines["rung"] == rung["rung"]) & lines["edit_kind"].isin(missing)]
            notes = [f"{LABELS.get(r.edit_kind, r.edit_kind)}: n/a\n({_name(str(r.reason) or 'not measured', 34)})"
                     for r in reasons.itertuples()]  # fmt: skip
            axes.text(
                0.04, 0.04, "\n".join(notes), transform=axes.transAxes, fontsize=SIZE - 2, color=GREY, va="bottom"
            )
        axes.set(xlim=(-0.03, 1.04), ylim=(-0.03, 1.04), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], aspect="equal")
    figure.supxlabel("specificity (what should stay, stays)", fontsize=SIZE + 0.5)
    figure.supylabel("generalisation (what should change, changes)", fontsize=SIZE + 0.5)
    handles = [_mark(k, LABELS.get(k, _name(k))) for k in kinds]
    handles.append(Line2D([], [], color=GREY, marker="o", mfc="none", ls="", ms=4, alpha=0.6, label="other setting"))
    handles.append(Line2D([], [], color=GREY, lw=1.4, label="Pareto front"))
    handles.append(Line2D([], [], color=GREY, lw=1.2, marker="+", ms=9, ls="", label="95% interval"))
    if plane["control"].any():
        handles.append(Line2D([], [], color=GREY, marker="x", ls="", ms=5, label="placebo"))
    fit = 3 if columns < 3 else len(handles)
    figure.legend(handles=handles, loc="outside upper left", ncols=fit, frameon=False, fontsize=SIZE - 0.5,
                  handletextpad=0.4, columnspacing=1.2)  # fmt: skip
    return figure


def _mark(kind: str, label: str) -> Line2D:
    return Line2D([], [], color=colour(kind), marker=shape(kind), ls="", ms=7, mec="white", label=label)


def _contours(axes: Axes, labels: bool) -> None:
    """Faint lines of equal harmonic mean."""
    x = np.linspace(0.005, 1, 300)
    for level in (0.25, 0.5, 0.75):
        with np.errstate(divide="ignore", invalid="ignore"):
            y = level * x / (2 * x - level)
        keep = (y > 0) & (y <= 1)
        axes.plot(x[keep], y[keep], color="#d5d8dc", lw=0.8, zorder=0)
        if labels:
            axes.text(level, level, f"H = {level:g}", fontsize=SIZE - 3, color="#8a8f94", ha="center", va="center",
                      rotation=-45, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5}, zorder=0)  # fmt: skip


def _panel(axes: Axes, here: pd.DataFrame, kinds: list[str]) -> None:
    for kind in kinds:
        mine = here[here["edit_kind"] == kind]
        plain = mine[~mine["control"]]
        axes.scatter(plain["specificity"], plain["generalisation"], s=16, marker=shape(kind), facecolors="none",
                     edgecolors=colour(kind), linewidths=0.8, alpha=0.55, zorder=2)  # fmt: skip
        front = plain[plain["front"]].sort_values("specificity", kind="stable")
        axes.plot(front["specificity"], front["generalisation"], color=colour(kind), lw=1.4, alpha=0.8, zorder=3)
        control = mine[mine["control"]]
        axes.scatter(control["specificity"], control["generalisation"], s=18, marker="x", color=colour(kind),
                     linewidths=0.9, alpha=0.7, zorder=2)  # fmt: skip
        for best in plain[plain["best"]].to_dict("records"):
            x, y = best["specificity"], best["generalisation"]
            style = {"color": colour(kind), "lw": 1.2, "zorder": 4}
            axes.plot([best["specificity_low"], best["specificity_high"]], [y, y], **style)
            axes.plot([x, x], [best["generalisation_low"], best["generalisation_high"]], **style)
            axes.plot([x], [y], marker=shape(kind), ms=8, color=colour(kind), mec="white", mew=0.8, zorder=5)


def editability_against_strength(lines: pd.DataFrame) -> Figure:
    """Best harmonic mean with its interval against strength, a line per edit kind; the conjecture as an inset."""
    figure = Figure(figsize=(9.4, 4.9), facecolor="white")
    axes = figure.add_axes((0.07, 0.125, 0.63, 0.68))
    _plain(axes)
    axes.grid(axis="y", color="#e6e8ea", lw=0.8)
    rungs = [r for r in _rungs(lines) if not pd.isna(r["strength_bits_per_byte"])]
    unplaced = [r for r in _rungs(lines) if pd.isna(r["strength_bits_per_byte"])]
    kinds = sorted(set(lines["edit_kind"]), key=kind_order)
    if len(kinds) == 2:
        kinds = [k for k in kinds if k != ALL]
    xs = [r["strength_bits_per_byte"] for r in rungs]
    span = (max(xs) - min(xs)) or 1.0 if xs else 1.0
    ends = []
    for i, kind in enumerate(kinds):
        mine = lines[(lines["edit_kind"] == kind)].dropna(subset=["strength_bits_per_byte"])
        mine = mine.sort_values("strength_bits_per_byte", kind="stable")
        x = mine["strength_bits_per_byte"].to_numpy() + (i - (len(kinds) - 1) / 2) * 0.006 * span
        y, low, high = (mine[f"harmonic_mean{e}"].to_numpy() for e in ("", "_low", "_high"))
        heavy = kind == ALL
        axes.vlines(x, low, high, color=colour(kind), lw=1.8 if heavy else 1.2, alpha=0.9, zorder=3)
        axes.plot(x, y, color=colour(kind), lw=2.4 if heavy else 1.4, ls="-" if heavy else (0, (5, 2)), zorder=4,
                  marker=shape(kind), ms=8 if heavy else 6.5, mec="white", mew=0.8)  # fmt: skip
        seen = np.flatnonzero(~np.isnan(y))
        if len(seen):
            ends.append([float(y[seen[-1]]), kind])
    left, right = (min(xs), max(xs)) if xs else (-1.0, 0.0)
    axes.set(xlim=(left - 0.06 * span, right + 0.06 * span), ylim=(0, 1.03))
    _direct_labels(axes, ends)
    _rung_names(axes, rungs, span)
    axes.set_xlabel("strength: bits per byte of English text (stronger to the right)", fontsize=SIZE + 0.5)
    axes.set_ylabel("editability (best harmonic mean)", fontsize=SIZE + 0.5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{-value:g}")
    if not lines["harmonic_mean"].notna().any():
        reason = next((str(r) for r in lines["reason"] if r), "nothing measured")
        axes.text(
            0.5, 0.5, f"n/a: {_name(reason, 60)}", transform=axes.transAxes, ha="center", color=GREY, fontsize=SIZE
        )
    if unplaced:
        names = ", ".join(_name(r["rung"]) for r in unplaced)
        figure.text(0.07, 0.008, f"not placed, no bits per byte: {short(names, 90)}", fontsize=SIZE - 1.5, color=GREY)
    _inset(figure)
    return figure


def _direct_labels(axes: Axes, ends: list[list]) -> None:
    """Names of the lines at their right ends, pushed apart where they would touch."""
    ends.sort(key=lambda end: end[0])
    gap, height = 0.052, -np.inf
    placed = []
    for y, kind in ends:
        height = max(y, height + gap)
        placed.append([height, kind])
    shift = max(0.0, placed[-1][0] - 1.0) if placed else 0.0
    for y, kind in placed:
        axes.annotate(LABELS.get(kind, _name(kind)), (1.0, y - shift), xycoords=("axes fraction", "data"),
                      xytext=(6, 0), textcoords="offset points", va="center", color=colour(kind), fontsize=SIZE,
                      fontweight="bold" if kind == ALL else "normal", annotation_clip=False)  # fmt: skip


def _rung_names(axes: Axes, rungs: list[dict], span: float) -> None:
    """Names slanted above the frame, each with a thin line down to its strength; spread where rungs are close."""
    previous = -np.inf
    for rung in sorted(rungs, key=lambda r: r["strength_bits_per_byte"]):
        x = rung["strength_bits_per_byte"]
        at = previous = max(x, previous + 0.05 * span)
        axes.plot([x, x], [0, 1.03], color="#eceef0", lw=0.8, zorder=0)
        axes.plot([x, at], [1.03, 1.065], color="#b8bdc2", lw=0.8, clip_on=False)
        text = _name(rung["rung"], 20) + (" (n/a)" if pd.isna(rung["harmonic_mean"]) else "")
        axes.text(at, 1.075, text, rotation=38, ha="left", va="bottom", fontsize=SIZE - 1.5, color=GREY,
                  rotation_mode="anchor")  # fmt: skip


def _inset(figure: Figure) -> None:
    axes = figure.add_axes((0.815, 0.175, 0.17, 0.24))
    x, y = np.array(CONJECTURE).T
    fine = np.linspace(0, 1, 200)
    axes.plot(fine, PchipInterpolator(x, y)(fine), color=GREY, lw=1.6)
    axes.set(xticks=[], yticks=[], xlim=(-0.02, 1.02), ylim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b8bdc2")
    axes.set_xlabel("model strength", fontsize=SIZE - 2, color=GREY)
    axes.set_ylabel("interpretability", fontsize=SIZE - 2, color=GREY)
    axes.set_title("conjecture (schematic),\nafter Olah and Hubinger", fontsize=SIZE - 1.5, color=GREY, loc="left")
    axes.annotate("valley of confused\nabstractions", (0.40, 0.22), (0.40, 0.03), fontsize=SIZE - 3.5, color=GREY,
                  ha="center", va="bottom")  # fmt: skip


__all__ = ["editability_against_strength", "generalisation_against_specificity", "write_figures"]
