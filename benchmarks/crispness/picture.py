"""The picture: one pair's four measures by layer against their controls, one column of panels per rung."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.crispness import CONTROLS, MEASURES
from editing.cache import atomic_file

# Okabe and Ito's palette; the dash repeats what the colour says.
STYLE = {
    "none": ("#0072B2", "-"),
    "untrained": ("#999999", ":"),
    "random": ("#D55E00", "--"),
    "shuffled": ("#009E73", "-."),
}
LABEL = {"none": "measured", "untrained": "untrained model", "random": "random concept", "shuffled": "shuffled pairs"}
TITLE = {
    "C_key": "C_key\nleak to translation\nminus siblings",
    "C_align": "C_align\nmutual neighbours\n(chance-corrected)",
    "C_patch": "C_patch\nP(name) minus\nrandom state's",
    "C_dir": "C_dir\ncosine of EN and FR\nedit vectors",
}

LEAST = 0.05  # a panel shows at least this much around 0, so that noise near 0 does not fill it


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Draw the first concept of `frame` (cheese/fromage where it is measured) into a PNG file, written whole."""
    concept = frame["concept"].iloc[0]
    mine = frame[(frame["concept"] == concept) & (frame["direction"] == "both")]
    rungs = list(dict.fromkeys(mine["rung"]))
    figure = Figure(figsize=(1.6 + 3.2 * len(rungs), 8.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(MEASURES), len(rungs), squeeze=False, sharey="row")
    for row, measure in enumerate(MEASURES):
        for column, rung in enumerate(rungs):
            panel = axes[row][column]
            part = mine[(mine["rung"] == rung) & (mine["measure"] == measure)]
            panel.axhline(0, color="#dddddd", linewidth=0.8)
            for control in CONTROLS:
                line = part[part["control"] == control].sort_values("layer")
                if len(line):
                    colour, dash = STYLE[control]
                    panel.plot(
                        line["layer"], line["value"], dash, color=colour, label=LABEL[control], marker=".", markersize=4
                    )
            panel.spines[["top", "right"]].set_visible(False)
            if row == 0:
                panel.set_title(rung, fontsize=10)
            if row == len(MEASURES) - 1:
                panel.set_xlabel("layer")
        axes[row][0].set_ylabel(TITLE[measure], fontsize=9)
        low, high = axes[row][0].get_ylim()  # shared by the row, so only now that all of it is drawn
        axes[row][0].set_ylim(min(low, -LEAST), max(high, LEAST))
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    first = mine.iloc[0]
    figure.suptitle(f"{first['en']} / {first['fr']}", fontsize=11)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
