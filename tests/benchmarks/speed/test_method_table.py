"""docs/reference/methods.md is what the committed table and the methods there are make of it."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.speed.method_table import PAGE, SCORES, TABLE, page, summarise
from editing.methods import method_names


def test_the_page_is_up_to_date() -> None:
    table = pd.read_csv(TABLE)
    assert set(table["method"]) <= set(method_names()), "run `python -m benchmarks.speed.method_table RUN` again"
    assert PAGE.read_text(encoding="utf-8") == page(table, str(table["setting"].iloc[0]))


def test_means_are_over_known_cases_and_failures_are_told() -> None:
    rows = pd.DataFrame(
        {
            "method": ["rome"] * 5 + ["lora"],
            "model": "m",
            "known": pd.array([True, True, True, False, True, None], dtype="boolean"),
            "case": ["a", "a", "b", "c", "b", None],
            "probe": ["efficacy", "efficacy", "efficacy", "efficacy", "neighbour", ""],
            "value": [1.0, 0.0, 1.0, 0.0, 0.5, float("nan")],
            "seconds_edit": [2.0, 2.0, 2.0, 2.0, 2.0, float("nan")],
            "error": ["", "", "", "", "", "no such site"],
        }
    )
    table = summarise(rows).set_index("method")
    assert table.loc["rome", "known"] == 2 and table.loc["rome", "efficacy"] == pytest.approx(0.75)
    assert table.loc["rome", "neighbour"] == 0.5 and table.loc["rome", "seconds_edit"] == 2.0
    assert table.loc["lora", "known"] == 0 and table.loc["lora", "error"] == "no such site"
    text = page(table.reset_index(), "settings")
    assert (
        "| `random_layer` | control: the same method with its real key at a layer drawn at random (not measured" in text
    )
    assert "| `lora` |" in text and "no such site" in text and len(SCORES) == 6
