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


def at_best_place(table: pd.DataFrame, lang: str = "en") -> pd.DataFrame:
    """rung, reading, measure, control, value: means over relations at the layer (and token) of each rung where the
    measurement is highest, in one language; measures without a language are in all. Isolation is read where cause is
    highest: where a state is read by nothing, swapping it leaves everything."""
    means = table[(table["concept"].fillna("") == "") & table["lang"].fillna("").isin((lang, "", "en-fr"))]
    means = means[(means["lang"].fillna("") != "en-fr") | (means["reading"] == "crispness") | (lang == "en-fr")]
    keys = ["rung", "reading", "measure"]
    place = means.assign(place=means["layer"].astype("string").fillna("") + "/" + means["position"].fillna(""))
    values = place.groupby([*keys, "place", "control"], sort=False)["value"].mean().dropna().reset_index()
    best = values[values["control"] == "none"].sort_values("value", ascending=False).drop_duplicates(keys)
    cause = best[best["measure"] == "cause"]
    best = pd.concat([best[best["measure"] != "isolation"], cause.assign(measure="isolation")])
    return values.merge(best[[*keys, "place"]], on=[*keys, "place"])
