"""Tables beside the rows of a run, which the judging commands take: readings (`read` writes them) and crispness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from editing.lazy import pandas as pd
from valley.rows.run import RowsError

READINGS_FILE = "readings.csv"
READINGS_FILES = (READINGS_FILE, "readings.csv.gz")
READINGS = ("rung", "reading", "layer", "position", "lang", "relation", "concept", "measure", "control", "value", "n")
# Names, in readings and crispness: texts even where they look like numbers or like a missing value ("0", "NA").
TEXT = ("rung", "reading", "position", "lang", "relation", "concept", "group", "measure", "direction", "control")
NUMBERS = ("layer", "depth", "value", "n")
DRAWS = 1000  # of the bootstrap over entities
OF_ONE = {"faithfulness": "faithful"}  # measures whose rows of single entities have another name
CRISPNESS_FILES = ("crispness.csv", "crispness.csv.gz")  # of `ladder crispness`; of `pack`
CRISPNESS = ("rung", "concept", "group", "layer", "depth", "measure", "direction", "control", "value")


def read_readings(path: Path) -> pd.DataFrame:
    """The table that `valley read NAME --out FOLDER` writes; empty text cells are "", a missing layer is NA.

    Raises:
        RowsError: no such file, not CSV, columns missing, or a row cut short.
    """
    table = _read(path, READINGS, "readings.csv of `valley read NAME --out FOLDER`")
    if (cut := table["n"].isna()).any():
        raise RowsError(f"{path}: row {int(cut.argmax()) + 1} is cut short; delete the file and read again")
    return table.assign(layer=table["layer"].astype("Int64"))


def readings_of(run: Path, given: str | Path | None = None) -> pd.DataFrame | None:
    """The readings to judge a run with: the `given` file, else the one in the run's folder, else None.

    Raises:
        RowsError: as `read_readings`.
    """
    path = given or _beside(run, READINGS_FILES)
    return None if path is None else read_readings(Path(path))


def read_crispness(path: Path) -> pd.DataFrame:
    """The table that `valley ladder crispness NAME --out FOLDER` writes.

    Raises:
        RowsError: no such file, not CSV, or columns missing.
    """
    return _read(path, CRISPNESS, "crispness.csv of `ladder crispness NAME --out FOLDER`")


def crispness_of(run: Path, given: str | Path | None = None) -> pd.DataFrame | None:
    """The crispness table to judge a run with, as `readings_of` its readings.

    Raises:
        RowsError: as `read_crispness`.
    """
    path = given or _beside(run, CRISPNESS_FILES)
    return None if path is None else read_crispness(Path(path))


def _read(path: Path, columns: Sequence[str], source: str) -> pd.DataFrame:
    try:
        empty = {name: ["", "nan", "NaN", "NA"] for name in NUMBERS}
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=empty)
    except (OSError, ValueError) as error:
        raise RowsError(f"{path}: not readable as CSV ({error}); give the {source}") from error
    lacking = [name for name in columns if name not in table]
    if lacking:
        raise RowsError(f"{path}: no column {lacking[0]!r}; give the {source}")
    return table


def _beside(run: Path, names: Sequence[str]) -> Path | None:
    return next((run / name for name in names if (run / name).is_file()), None)


def at_best_place(table: pd.DataFrame, lang: str = "en") -> pd.DataFrame:
    """rung, reading, measure, control, value: means over relations at the layer (and token) of each rung where the
    measurement is highest (`at_highest`), in one language; measures without a language are in all."""
    means = table[(table["concept"].fillna("") == "") & table["lang"].fillna("").isin((lang, "", "en-fr"))]
    means = means[(means["lang"].fillna("") != "en-fr") | (means["reading"] == "crispness") | (lang == "en-fr")]
    keys = ["rung", "reading", "measure"]
    place = means.assign(place=means["layer"].astype("string").fillna("") + "/" + means["position"].fillna(""))
    values = place.groupby([*keys, "place", "control"], sort=False)["value"].mean().dropna().reset_index()
    return at_highest(values, keys, "place")


def at_highest(values: pd.DataFrame, keys: Sequence[str], place: str) -> pd.DataFrame:
    """The rows of each group of `keys` at the `place` where its measurement (control "none") is highest, the first of
    equal ones. Isolation is read where cause is highest: where a state is read by nothing, swapping it leaves
    everything."""
    order = values[values["control"] == "none"].sort_values("value", ascending=False, kind="stable")
    best = order.drop_duplicates(list(keys))
    cause = best[best["measure"] == "cause"]
    best = pd.concat([best[best["measure"] != "isolation"], cause.assign(measure="isolation")])
    return values.merge(best[[*keys, place]], on=[*keys, place])


def interval_over_entities(
    table: pd.DataFrame, where: Mapping[str, object], measure: str, control: str, seed: int = 0
) -> tuple[float, float]:
    """2.5% and 97.5% of the mean over relations when the entities of each are drawn again; NaN where a relation has
    fewer than two rows of single entities, which cannot be drawn again.

    Args:
        where: column -> value that the rows of one place have.
    """
    rows = table[(table["measure"] == OF_ONE.get(measure, measure)) & (table["control"] == control)]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    rows = rows[rows["concept"] != ""]
    if rows.empty or rows.groupby("relation").size().min() < 2:
        return float("nan"), float("nan")
    drawn = []
    for number, (_, part) in enumerate(rows.groupby("relation", sort=True)):
        values, weights = part["value"].to_numpy(dtype="float64"), part["n"].to_numpy(dtype="float64")
        rng = np.random.default_rng([seed, number, len(values)])
        times = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=DRAWS) * weights
        drawn.append(times @ values / times.sum(1))
    low, high = np.quantile(np.mean(drawn, axis=0), (0.025, 0.975))
    return float(low), float(high)
