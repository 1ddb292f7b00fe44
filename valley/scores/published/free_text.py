"""Renames by what the model writes, beside what it picks among the names.

Candidates are compared with each other, so that a new name that leads the other names counts, whatever else the model
would rather say. Here the same questions are read by greedy text: the new name behind the edit's prompts and their
paraphrases, and the siblings that the unedited model writes behind their own definitions.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import picked, written
from valley.scores.composites import Means
from valley.scores.published.definitions import Score, table_of
from valley.scores.published.settings_table import Summary
from valley.statistics import harmonic

READINGS = {"picked": picked, "written": written}
KINDS = ("efficacy", "paraphrase", "neighbour")
SCORES = tuple(Score(f"{name}_{kind}", (kind,), of) for kind in KINDS for name, of in READINGS.items())
LEGEND = (
    "picked: among the names; written: the greedy text begins with it, on the same questions; of siblings (neighbour) "
    "those that the unedited model writes. picked and written alone: harmonic mean of paraphrase and neighbour"
)


def free_text_scores(rows: pd.DataFrame, which: str = "known", draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """The shares of answers that are picked and that are written, of every setting; see `counterfact_scores`.

    NaN where a run read no text, as on development cases.
    """
    table = table_of(rows, SCORES, Summary(tuple(READINGS), _both), which, draws, seed)
    table.attrs["legend"] = LEGEND
    return table


def _both(means: Means, _: np.ndarray) -> np.ndarray:
    return np.stack(list(map(partial(_harmonic, means), READINGS)), axis=-1)


def _harmonic(means: Means, name: str) -> np.ndarray:
    return harmonic(means.values[f"{name}_paraphrase"], means.values[f"{name}_neighbour"])


TABLES = {"free_text": free_text_scores}
