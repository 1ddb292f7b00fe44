"""Axes of model strength that a figure can be drawn against, and which of them a run states."""

from __future__ import annotations

from dataclasses import dataclass

from editing.lazy import pandas as pd
from valley.rows import RUNG


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
SIZE = StrengthAxis("parameters", "parameters", "parameters", log=True)
AXES = (
    PROSE,
    WORLD,
    SIZE,
    StrengthAxis("known_rate_en", "share of a fixed sample of facts that the unedited model knows", "known facts"),
    StrengthAxis("training_tokens", "training tokens", "training tokens", log=True),
)


FOREIGN = 3.0  # bits per byte; a model that needs more does not read prose (letters alone, by frequency, need about 4)


def foreign_to_prose(lines: pd.DataFrame) -> bool:
    """Whether some rung was grown here, on short sentences only, so that those order the rungs and prose does not.

    A table from before the sentences were measured has nothing but prose.
    """
    return bool(_grown(lines).any() and lines[WORLD.column].notna().any())


def strange_to_sentences(lines: pd.DataFrame) -> pd.Series:
    """True for each model that was not grown here where others were: those have read thousands of such sentences, it
    has read none.

    On that axis a pretrained model would look weaker than a one-layer rung; so there it has no place, on the others it
    has.
    """
    grown = _grown(lines)
    return ~grown & bool(grown.any())


def _grown(lines: pd.DataFrame) -> pd.Series:
    return lines["model"].fillna("").str.startswith("grown:") | (lines[PROSE.column] > FOREIGN)


# Below this many facts a known rate is noise: on 40 its standard error is .035, as wide as most of a ladder.
FEWEST_FACTS = 400
# Why an axis may be stated for no rung, as the end of a sentence.
DEMANDS = {"known_rate": f"; a known rate counts where at least {FEWEST_FACTS} facts were measured"}


def counted_rate(rows: pd.DataFrame) -> pd.Series:
    """Per row `known_rate_en`, NaN where it rests on fewer than FEWEST_FACTS facts, or on an unknown number."""
    facts = rows["known_facts"] if "known_facts" in rows else pd.Series(float("nan"), rows.index)
    return rows["known_rate_en"].where(facts >= FEWEST_FACTS)


FAMILIES = GROWN, PRETRAINED = ("grown", "pretrained")


def family_of(lines: pd.DataFrame) -> pd.Series:
    """GROWN or PRETRAINED of each model. The two differ in more than strength, so a curve's shape is judged in each."""
    return _grown(lines).map({True: GROWN, False: PRETRAINED})


def strengths(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per rung: RUNG, the columns of AXES (NaN where not stated, or not comparable in its ladder) and
    `model`."""
    columns = [axis.column for axis in AXES]
    table = rows.assign(known_rate_en=counted_rate(rows))[[*RUNG, *columns, "model"]].assign(
        model=rows["model"].where(rows["model"] != "")
    )
    table = table.groupby(list(RUNG), observed=True)[[*columns, "model"]].first().reset_index()
    for _, ladder in table.groupby("ladder", observed=True):
        table.loc[ladder.index[strange_to_sentences(ladder)], WORLD.column] = float("nan")
    return table


def axes_of(lines: pd.DataFrame) -> tuple[StrengthAxis, ...]:
    """The axes on which the rungs of `lines` differ, the primary one first; one axis at least where any is stated.

    Rungs grown here read short true sentences, and prose is foreign to them; pretrained models are the other way round.
    So the sentences lead where all rungs were grown, the prose where none was, and the size of the model where some
    were. Prose comes last where any rung was grown.
    """
    order = AXES
    if foreign_to_prose(lines):
        first, last = (SIZE if strange_to_sentences(lines).any() else WORLD), PROSE
        order = (first, *(axis for axis in AXES if axis not in (first, last)), last)
    stated = [axis for axis in order if lines[axis.column].notna().any()]
    apart = [axis for axis in stated if lines[axis.column].nunique() > 1]
    return tuple(apart or stated[:1])
