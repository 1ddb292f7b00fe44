"""Axes of model strength that a figure can be drawn against, and which of them a run states."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from valley.kinds import RUNG


@dataclass(frozen=True)
class StrengthAxis:
    """Attributes:
    column: of the rows. title: with its unit, as written below the axis. short: as written on a switch.
    falling: less is stronger, so the axis is drawn backwards. log: drawn on a logarithmic scale.
    """

    column: str
    title: str
    short: str
    falling: bool = False
    log: bool = False


PROSE = StrengthAxis(
    "bits_per_byte_en", "bits per byte of English prose (stronger to the right)", "bits per byte, prose", True
)
WORLD = StrengthAxis(
    "bits_per_byte_world_en",
    "bits per byte of short true sentences, none of them trained on (stronger to the right)",
    "bits per byte, short true sentences",
    True,
)
AXES = (
    PROSE,
    WORLD,
    StrengthAxis("parameters", "parameters", "parameters", log=True),
    StrengthAxis("known_rate_en", "share of a fixed sample of facts that the unedited model knows", "known facts"),
    StrengthAxis("training_tokens", "training tokens", "training tokens", log=True),
)


FOREIGN = 3.0  # bits per byte; a model that needs more does not read prose (letters alone, by frequency, need about 4)


def foreign_to_prose(lines: pd.DataFrame) -> bool:
    """Whether some rung was grown here, on short sentences only, so that those order the rungs and prose does not.

    A table from before the sentences were measured has nothing but prose.
    """
    grown = lines["model"].fillna("").str.startswith("grown:") | (lines[PROSE.column] > FOREIGN)
    return bool(grown.any() and lines[WORLD.column].notna().any())


def strengths(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per rung: RUNG, the columns of AXES (NaN where not stated) and `model`."""
    columns = [axis.column for axis in AXES]
    table = rows[[*RUNG, *columns, "model"]].assign(model=rows["model"].where(rows["model"] != ""))
    return table.groupby(list(RUNG), observed=True)[[*columns, "model"]].first().reset_index()


def axes_of(lines: pd.DataFrame) -> tuple[StrengthAxis, ...]:
    """The axes on which the rungs of `lines` differ, the primary one first; one axis at least where any is stated.

    Rungs grown here read short true sentences, and prose is foreign to them; pretrained models are the other way round. So the
    sentences lead where any rung was grown, the prose where none was.
    """
    order = sorted(AXES, key=lambda axis: axis is not (WORLD if foreign_to_prose(lines) else PROSE))
    stated = [axis for axis in order if lines[axis.column].notna().any()]
    apart = [axis for axis in stated if lines[axis.column].nunique() > 1]
    return tuple(apart or stated[:1])
