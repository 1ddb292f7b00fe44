"""Charts against model strength, one view per strength axis: editability, each kind of probe, transfer."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from editing.lazy import altair as alt
from editing.lazy import pandas as pd
from valley.report.charts.common import INK, ROWS, Chart, dress, kinds_of, marks, named, records, tooltips
from valley.rows import ALL, LABELS, PROBE_KINDS
from valley.scores import StrengthAxis

NUMBERS = {"value": ".2f", "low": ".2f", "high": ".2f"}
SMALL_LINE = 36  # letters of an axis' title below a small panel
GAP = 0.03  # of the axis, between the names of two models
# Share of the axis between the marks of two edit kinds of one model, so that no interval hides another.
STEP = 0.006


def editability_chart(name: str, points: pd.DataFrame, axes: tuple[StrengthAxis, ...]) -> Chart | None:
    """Score of the best setting with its interval, a line per edit kind through the sizes, a faint mark per model of a
    size of several.

    Args:
        points: `valley.scores.figure_tables.editability_points` of one ladder. axes: at least one view's worth.

    Returns:
        None if no point has a strength.
    """
    shown = named(points)
    kinds = kinds_of(shown)
    if len(kinds) == 2:
        kinds = [k for k in kinds if k != ALL]
        shown = shown[shown["edit_kind"].isin(kinds)]
    columns = ["name", "kind", "role", "seeds", "method", "n_known", "value", "low", "high", "generalisation",
               "specificity", *(axis.column for axis in axes)]  # fmt: skip
    tips = tooltips(("name", "kind", "method"), {"seeds": "d", "n_known": "d", **NUMBERS, "generalisation": ".2f",
                                                  "specificity": ".2f", **_formats(axes)})  # fmt: skip
    heavy = alt.condition(f"datum.kind == {LABELS[ALL]!r}", alt.value(3), alt.value(1.6))

    seeds = _has_seeds(shown)

    def view(axis: StrengthAxis) -> dict:
        pick = alt.selection_point(fields=["kind"], bind="legend")
        base = alt.Chart(alt.NamedData(name=ROWS))
        layers = _layers(base, axis, kinds, tips, heavy, pick, seeds, "editability: score of the best setting")
        chart = alt.layer(*layers, _names(shown, axis)).properties(width=620, height=330)
        return dress(chart)

    label = "Line chart of editability against model strength; the same numbers are in the table of the curve"
    return _chart(name, label, shown, columns, axes, view, "Editability against {choice}")


def transfer_chart(name: str, points: pd.DataFrame, axes: tuple[StrengthAxis, ...]) -> Chart | None:
    """Transfer net of siblings, a panel per direction, a line per edit kind.

    Args:
        points: `valley.scores.figure_tables.transfer_points` of one ladder.
    """
    return panels(
        name, points, axes, sorted(set(points["direction"])), "transfer, net of siblings",
        "Line charts of cross-lingual transfer against model strength, one per direction",
        "Transfer between languages against {choice}",
    )  # fmt: skip


def kinds_chart(name: str, points: pd.DataFrame, axes: tuple[StrengthAxis, ...]) -> Chart | None:
    """Every kind of probe at the best setting, a panel per kind, a line per edit kind.

    Args:
        points: `valley.scores.figure_tables.kind_points` of one ladder.
    """
    labels = [LABELS[kind] for kind in PROBE_KINDS if kind in set(points["direction"])]
    return panels(
        name, points.assign(direction=points["direction"].map(LABELS)), axes, labels, "above placebo, or kept",
        "Line charts of every kind of probe against model strength", "Every kind of probe against {choice}", small=True,
    )  # fmt: skip


def panels(
    name: str,
    points: pd.DataFrame,
    axes: tuple[StrengthAxis, ...],
    order: list[str],
    measure: str,
    label: str,
    title: str,
    small: bool = False,
) -> Chart | None:
    """A panel per `direction` in the given order, a line per edit kind; None without points."""
    if points.empty:
        return None
    shown = named(points)
    kinds = kinds_of(shown)
    columns = ["name", "kind", "role", "direction", "seeds", "method", "n_known", "value", "low", "high",
               *(axis.column for axis in axes)]  # fmt: skip
    tips = tooltips(
        ("name", "kind", "direction", "method"), {"seeds": "d", "n_known": "d", **NUMBERS, **_formats(axes)}
    )
    seeds = _has_seeds(shown)
    width, height, across = (250, 130, 3) if small else (400, 230, 2)

    def view(axis: StrengthAxis) -> dict:
        pick = alt.selection_point(fields=["kind"], bind="legend")
        layers = _layers(alt.Chart(), axis, kinds, tips, alt.value(1.6), pick, seeds and not small, measure, small)
        chart = (
            alt.layer(*layers, data=alt.NamedData(name=ROWS))
            .properties(width=width, height=height)
            .facet(facet=alt.Facet("direction:N", title=None, sort=order), columns=across)
        )
        return dress(chart)

    return _chart(name, label, shown, columns, axes, view, title)


def _formats(axes: tuple[StrengthAxis, ...]) -> dict[str, str]:
    return {axis.column: ".3~s" if axis.log else ".3~f" for axis in axes}


def _chart(
    name: str,
    label: str,
    shown: pd.DataFrame,
    columns: list[str],
    axes: tuple[StrengthAxis, ...],
    view: Callable[[StrengthAxis], dict],
    title: str,
) -> Chart | None:
    """A view per axis on which some point has a place; None where there is no such axis."""
    usable = tuple(axis for axis in axes if shown[axis.column].notna().any())
    if shown.empty or not usable:
        return None
    shown = shown.assign(**{f"at_{axis.column}": _apart(shown, axis) for axis in usable})
    views = {axis.short: view(axis) for axis in usable}
    columns = [*columns, *(f"at_{axis.column}" for axis in usable)]
    note = ("Mean over the seeds of a size, with 95% intervals. Hollow: one seed.",) if _has_seeds(shown) else ()
    return Chart(name, label, views, records(shown, columns), "Strength axis" if len(views) > 1 else "", title, note)


def _has_seeds(shown: pd.DataFrame) -> bool:
    return bool((shown["role"] == "model").any())


def _apart(shown: pd.DataFrame, axis: StrengthAxis) -> np.ndarray:
    """Places on the axis: the strength itself, moved a little by edit kind."""
    x = shown[axis.column].to_numpy(dtype="float64")
    x = np.log10(x) if axis.log else x
    kinds = kinds_of(shown)
    shift = np.array([kinds.index(kind) for kind in shown["edit_kind"]]) - (len(kinds) - 1) / 2
    moved = x + shift * STEP * float(np.nanmax(x) - np.nanmin(x))
    return 10.0**moved if axis.log else moved


def _layers(
    base: alt.Chart,
    axis: StrengthAxis,
    kinds: list[str],
    tips: list,
    width: Any,
    pick: alt.Parameter,
    seeds: bool,
    title: str,
    small: bool = False,
) -> list[alt.Chart]:
    """Intervals, lines and marks of the sizes; faint marks of single models where there are `seeds`.

    `small` is for panels in which the axis' title takes several lines.
    """
    color, shape = marks(kinds)
    span: dict[str, Any] = {"type": "log", "nice": False} if axis.log else {"zero": False, "nice": True}
    scale = alt.Scale(reverse=axis.falling, padding=18, **span)
    ticks = alt.Axis(format="~s", tickCount=6) if axis.log else alt.Axis(tickCount=4) if small else alt.Axis()
    below = textwrap.wrap(axis.title, SMALL_LINE) if small else axis.title
    x = alt.X(f"at_{axis.column}:Q", title=below, scale=scale, axis=ticks)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(domain=[0, 1]))
    base = base.transform_filter(f"isValid(datum['at_{axis.column}'])").encode(x=x, y=y, color=color)
    size = base.transform_filter("datum.role == 'size'")
    fade = alt.condition(pick, alt.value(1), alt.value(0.1))
    bars = size.mark_rule(strokeWidth=1.6, clip=True).encode(y=alt.Y("low:Q", title=""), y2="high:Q", opacity=fade)
    layers = [
        bars.add_params(pick),  # in the first layer: Vega-Lite names the legend's parts after that one alone
        size.mark_line().encode(strokeWidth=width, opacity=fade),
    ]
    if seeds:
        faint = alt.condition(pick, alt.value(0.45), alt.value(0.05))
        model = base.transform_filter("datum.role == 'model'").mark_point(size=34, strokeWidth=1.1)
        layers.append(model.encode(shape=shape, tooltip=tips, opacity=faint))
    dots = size.mark_point(filled=True, size=90).encode(shape=shape, tooltip=tips, opacity=fade)
    return [*layers, dots]


def _names(shown: pd.DataFrame, axis: StrengthAxis) -> alt.Chart:
    """Names of the sizes, slanted above the frame, moved apart where they would touch."""
    names = shown[(shown["role"] == "size") & shown[axis.column].notna()].drop_duplicates("name")
    x = np.log10(names[axis.column]) if axis.log else names[axis.column]
    sign = -1 if axis.falling else 1
    names = names.assign(x=x * sign).sort_values("x", kind="stable")
    places = sign * _spread(names["x"].to_numpy(dtype="float64"))
    names = names.assign(top=1.0, at=10.0**places if axis.log else places)
    return (
        alt.Chart(alt.Data(values=records(names, ["name", "at", "top"])))
        .mark_text(angle=318, align="left", dx=4, dy=-6, fontSize=11, opacity=0.85, color=INK)
        .encode(x=alt.X("at:Q"), y=alt.Y("top:Q"), text="name:N")
    )


def _spread(x: np.ndarray) -> np.ndarray:
    """Rising places, each at least GAP of the range after the one before."""
    gap = GAP * (float(np.ptp(x)) or 1.0)
    places: list[float] = []
    for value in x:
        places.append(max(value, places[-1] + gap) if places else value)
    return np.array(places)
