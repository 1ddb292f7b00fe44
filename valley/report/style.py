"""Colours and shapes shared by the PNG figures and the page's charts: the same edit kind always looks the same."""

from __future__ import annotations

from valley.rows.kinds import ALL

# Okabe and Ito's palette, safe for the common kinds of colour blindness; shape repeats what colour says.
COLOURS = {"fact": "#0072B2", "rename": "#D55E00", "retarget": "#009E73", ALL: "#000000"}
SHAPES = {"fact": "o", "rename": "s", "retarget": "^", ALL: "D"}
OTHER = ("#CC79A7", "v")


def colour(kind: str) -> str:
    return COLOURS.get(kind, OTHER[0])


def shape(kind: str) -> str:
    return SHAPES.get(kind, OTHER[1])


# Olah's and Hubinger's diagram, redrawn as a schematic: interpretability against strength, both without a scale.
CONJECTURE = (
    (0.0, 0.90), (0.08, 0.88), (0.16, 0.78), (0.25, 0.52), (0.33, 0.30), (0.40, 0.24), (0.47, 0.31), (0.55, 0.55),
    (0.63, 0.76), (0.70, 0.82), (0.77, 0.76), (0.85, 0.52), (0.92, 0.27), (1.0, 0.10),
)  # fmt: skip
