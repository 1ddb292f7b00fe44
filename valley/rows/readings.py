"""Readings tables: what `read` writes into a run's folder and the judging commands take."""

from __future__ import annotations

from pathlib import Path

from valley.lazy import pandas as pd
from valley.rows.schema import RowsError

READINGS_FILE = "readings.csv"
READINGS_FILES = (READINGS_FILE, "readings.csv.gz")
READINGS = ("rung", "reading", "layer", "position", "lang", "relation", "concept", "measure", "control", "value", "n")
TEXT = ("position", "lang", "relation", "concept")


def read_readings(path: Path) -> pd.DataFrame:
    """The table that `valley read NAME --out FOLDER` writes; empty text cells are "", a missing layer is NA.

    Raises:
        RowsError: no such file, not CSV, or columns missing.
    """
    try:
        table = pd.read_csv(path, keep_default_na=True)
    except (OSError, ValueError) as error:
        raise RowsError(f"{path}: not readable as CSV ({error}); give the readings.csv of `valley read`") from error
    lacking = [name for name in READINGS if name not in table]
    if lacking:
        raise RowsError(f"{path}: no column {lacking[0]!r}; give the readings.csv of `valley read NAME --out FOLDER`")
    table = table.assign(**{name: table[name].fillna("").astype(str) for name in TEXT})
    return table.assign(layer=table["layer"].astype("Int64"))


def readings_of(run: Path, given: str | Path | None = None) -> pd.DataFrame | None:
    """The readings to judge a run with: the `given` file, else the one in the run's folder, else None.

    Raises:
        RowsError: as `read_readings`.
    """
    path = given or next((run / name for name in READINGS_FILES if (run / name).is_file()), None)
    return None if path is None else read_readings(Path(path))
