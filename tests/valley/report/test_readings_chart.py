"""The figure of editability beside readings: which layer stands for a reading, and what is drawn of a run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import valley
from tests.valley.build import ladder
from valley.report.charts.readings import reading_values
from valley.rows.plan_record import store_plan
from valley.rows.readings import READINGS


def reading(rung: str, name: str, measure: str, by_layer: dict[int, float], lang: str = "en") -> list[dict]:
    common = {"rung": rung, "reading": name, "measure": measure, "lang": lang, "position": "last", "concept": "",
              "control": "none", "n": 5, "relation": "capital"}  # fmt: skip
    return [common | {"layer": layer, "value": value} for layer, value in by_layer.items()]


def table() -> pd.DataFrame:
    rows = []
    for at, rung in enumerate(("r0", "r1", "r2")):
        rows += reading(rung, "interchange", "cause", {0: 0.1, 1: 0.2 + 0.1 * at})
        rows += reading(rung, "interchange", "isolation", {0: 0.9, 1: 0.6})
        rows += reading(rung, "interchange", "cause", {0: 0.99}, lang="fr")
        rows += [reading(rung, "linearity", "faithfulness", {0: 1.0})[0] | {"control": "constant"}]
    return pd.DataFrame(rows, columns=list(READINGS)).assign(layer=lambda part: part["layer"].astype("Int64"))


def test_a_reading_stands_at_its_best_layer_and_isolation_at_that_of_cause():
    values = reading_values(table())
    assert values["interchange: cause"].to_dict() == pytest.approx({"r0": 0.2, "r1": 0.3, "r2": 0.4})
    assert values["interchange: isolation"].tolist() == [0.6, 0.6, 0.6]  # .9 where nothing is read does not count
    assert values["linearity: faithfulness"].empty  # a control is no reading


@pytest.mark.slow
def test_the_figure_has_edits_and_readings_of_the_same_models(tmp_path: Path):
    (tmp_path / "cells").mkdir()
    ladder(3).to_parquet(tmp_path / "cells" / "a.parquet")
    store_plan(tmp_path, {"min_known": 2, "bootstrap": 50, "draws": 50})
    assert "readings-0" not in valley.Run(tmp_path).page.charts
    table().to_csv(tmp_path / "readings.csv", index=False)
    chart = valley.Run(tmp_path).page.charts["readings-0"]
    drawn = pd.DataFrame(chart.rows)
    cause = drawn[drawn["direction"] == "interchange: cause"].set_index("name")["value"]
    assert cause.to_dict() == pytest.approx({"r0": 0.2, "r1": 0.3, "r2": 0.4})
    assert {"editability: composite of the best setting", "edits: specificity"} <= set(drawn["direction"])
    assert "linearity: faithfulness" not in set(drawn["direction"])
