"""Crispness tables: what ladder crispness writes and the judging commands read."""

from __future__ import annotations

from pathlib import Path

from valley.lazy import pandas as pd
from valley.rows.schema import RowsError

CRISPNESS_FILES = ("crispness.csv", "crispness.csv.gz")  # in a run's folder: of `ladder crispness`; of `pack`


CRISPNESS = ("rung", "concept", "group", "layer", "depth", "measure", "direction", "control", "value")


def read_crispness(path: Path) -> pd.DataFrame:
    """The table that `python cli.py ladder crispness NAME --out FOLDER` writes.

    Raises:
        RowsError: no such file, not CSV, or columns missing.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise RowsError(
            f"{path}: not readable as CSV ({error}); give the crispness.csv of `ladder crispness`"
        ) from error
    lacking = [name for name in CRISPNESS if name not in table]
    if lacking:
        raise RowsError(f"{path}: no column {lacking[0]!r}; give the crispness.csv of `ladder crispness --out FOLDER`")
    return table


def crispness_of(run: Path, given: str | Path | None = None) -> pd.DataFrame | None:
    """The crispness table to judge a run with: the `given` file, else the one in the run's folder, else None.

    Raises:
        RowsError: as `read_crispness`.
    """
    path = given or next((run / name for name in CRISPNESS_FILES if (run / name).is_file()), None)
    return None if path is None else read_crispness(Path(path))
