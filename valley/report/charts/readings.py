"""Editability and the readings of the same models in one figure, against strength."""

from __future__ import annotations

from editing.lazy import pandas as pd
from valley.report.charts.common import Chart
from valley.report.charts.strength import panels
from valley.rows import ALL, at_best_place
from valley.scores import StrengthAxis
from valley.statistics import size_of

EDITABILITY = "editability: composite of the best setting"
SCORES = {"generalisation": "edits: generalisation", "specificity": "edits: specificity"}
SHOWN = {
    ("interchange", "cause"): "interchange: cause",
    ("interchange", "isolation"): "interchange: isolation",
    ("crispness", "C_key"): "crispness: key contrast",
    ("linearity", "faithfulness"): "linearity: faithfulness",
    ("interference", "key_overlap_whitened"): "interference: overlap of keys",
    ("interference", "unembedding_overlap"): "interference: overlap of unembeddings",
}


def readings_chart(
    name: str, points: pd.DataFrame, readings: pd.DataFrame, axes: tuple[StrengthAxis, ...]
) -> Chart | None:
    """A panel each for the score of edits, its two halves, and the measures of SHOWN, with one line through the sizes.

    Args:
        points: `valley.scores.figure_tables.editability_points` of one ladder. readings: table of `valley read`.

    Returns:
        None if no model of the ladder was read.
    """
    kinds = list(points["edit_kind"].unique())
    edits = points[points["edit_kind"] == (ALL if ALL in kinds else kinds[0])] if kinds else points
    values = reading_values(readings)
    parts = [edits.assign(direction=EDITABILITY)]
    parts += [_bare(edits, title).assign(value=edits[score]) for score, title in SCORES.items()]
    read = [_read(edits, title, of_rung) for title, of_rung in values.items()]
    shown = [part for part in read if part["value"].notna().any()]
    if not shown:
        return None
    order = [EDITABILITY, *SCORES.values(), *values]
    return panels(
        name, pd.concat([*parts, *shown], ignore_index=True), axes, order, "score or reading",
        "Line charts of editability and of readings of the same models against model strength",
        "Editability and readings against {choice}", small=True,
    )  # fmt: skip


def reading_values(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Title -> value by rung of the measures of SHOWN, each at its best place (`valley.rows.at_best_place`)."""
    values = at_best_place(table)
    values = values[values["control"] == "none"]
    shown = {}
    for (reading, measure), title in SHOWN.items():
        part = values[(values["reading"] == reading) & (values["measure"] == measure)]
        shown[title] = part.set_index("rung")["value"]
    return shown


def _bare(edits: pd.DataFrame, title: str) -> pd.DataFrame:
    """The lines of the edits for another panel, without their intervals."""
    return edits.assign(direction=title, low=float("nan"), high=float("nan"))


def _read(edits: pd.DataFrame, title: str, of_rung: pd.Series) -> pd.DataFrame:
    """The same lines with a reading as their value; of a size the mean over its models."""
    of_size = of_rung.groupby([size_of(str(rung)) for rung in of_rung.index]).mean()
    names = edits["name"].astype(str)
    value = names.map(of_rung).astype(float).fillna(names.map(of_size).astype(float))
    return _bare(edits, title).assign(value=value, method="", n_known=float("nan"))
