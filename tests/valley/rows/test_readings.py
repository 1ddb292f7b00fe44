"""Tables beside the rows: names stay texts, whatever they look like, and missing numbers are NaN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.valley.build import edit, frame, probes
from valley.hypotheses import Evidence, judge
from valley.rows.readings import CRISPNESS, READINGS, read_crispness, read_readings
from valley.rows.run import RowsError
from valley.scores import AnalysisPlan

PLAN = AnalysisPlan(min_known=2, bootstrap=50, draws=100)


def written(path: Path, columns: tuple[str, ...], *lines: dict) -> Path:
    empty = dict.fromkeys(columns, "") | {"rung": "0", "layer": 1, "depth": 0.5, "value": 0.5, "control": "none"}
    pd.DataFrame([empty | line for line in lines], columns=list(columns)).to_csv(path, index=False)
    return path


def test_names_that_look_like_numbers_or_missing_values_stay_as_they_are(tmp_path: Path) -> None:
    """A rung "0" was read as the number 0, and a concept "NA" as the empty text that marks a mean."""
    about = {"reading": "linearity", "measure": "cause", "lang": "en", "n": 9}
    table = read_readings(written(
        tmp_path / "readings.csv", READINGS, about | {"concept": "NA", "relation": "1", "position": "0"},
        about | {"layer": "", "value": ""},
    ))  # fmt: skip
    assert list(table["rung"]) == ["0", "0"] and list(table["concept"]) == ["NA", ""]
    assert list(table["relation"]) == ["1", ""] and list(table["position"]) == ["0", ""]
    assert table["layer"].dtype == "Int64" and pd.isna(table["layer"][1]) and np.isnan(table["value"][1])
    crisp = written(
        tmp_path / "crispness.csv", CRISPNESS, {"concept": "null", "group": "007", "value": ""}, {"rung": "1"}
    )
    table = read_crispness(crisp)
    assert list(table["rung"]) == ["0", "1"] and table["concept"][0] == "null" and table["group"][0] == "007"
    assert np.isnan(table["value"][0]) and table["layer"].dtype == "int64"


def test_a_row_cut_short_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "readings.csv", READINGS, {"n": 9}, {"n": 9})
    path.write_text(path.read_text("utf-8")[:-3].rstrip(",0123456789.\n"), encoding="utf-8")
    with pytest.raises(RowsError, match="row 2 is cut short"):
        read_readings(path)


def test_rungs_named_by_numbers_meet_their_edits(tmp_path: Path) -> None:
    """H6 ended in a traceback: the rungs of the edits are texts, those of the table were numbers."""
    rows = frame(*(edit(f"c{i}", probes(paraphrase=[i / 16], neighbour=[1.0]), rung=str(r), rung_index=r,
                        relation=f"r{i % 2}") for r in range(2) for i in range(16)))  # fmt: skip
    lines = [{"rung": str(r), "concept": f"c{i}", "group": f"t{i % 2}", "measure": "C_key", "direction": "both",
              "value": i + r / 9} for r in range(2) for i in range(16)]  # fmt: skip
    crisp = read_crispness(written(tmp_path / "crispness.csv", CRISPNESS, *lines))
    (result,) = judge(Evidence(rows, PLAN, crisp), ("H6",))
    assert result.verdict == "supported", result.reason
