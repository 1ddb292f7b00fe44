"""docs/reference/methods.md is what the committed table and the methods there are make of it."""

from __future__ import annotations

import tomllib

import pandas as pd

from benchmarks.speed.methods.settings import harmonic, searched
from benchmarks.speed.methods.table import DEFAULT, PAGE, PUBLISHED, REASONS, TABLE, page
from editing.methods import make_method, method_names


def test_the_page_is_up_to_date() -> None:
    table = pd.read_csv(TABLE)
    assert set(table["method"]) <= set(method_names()), "run `python -m benchmarks.speed.methods.table OUT.csv` again"
    assert PAGE.read_text(encoding="utf-8") == page(table)


def test_a_line_has_both_presets_the_search_and_the_reason() -> None:
    line = {"rung": "r", "n": 12, "efficacy": 1.0, "paraphrase": 0.8, "neighbour": 0.9, "same_subject": 0.7}
    line |= {"placebo": 0.5, "generalisation": 0.6, "specificity": 0.8, "composite": 0.69, "low": 0.5, "high": 0.8}
    line |= {"seconds_edit": 0.25, "moved": 12, "error": ""}
    low = {"efficacy": 0.05, "composite": 0.01, "low": 0.0, "high": 0.02}
    table = pd.DataFrame(
        [
            line | {"method": "rome", "settings": DEFAULT},
            line | low | {"method": "rome", "settings": PUBLISHED},
            line | {"method": "rome", "settings": '{"depth": 0.5}', "composite": 0.72},
            line | {"method": "rome", "settings": '{"depth": 0.9}', "composite": 0.99, "efficacy": 0.5},
            {"rung": "r", "n": 12, "method": "memit", "settings": DEFAULT, "error": "request 'x': not reachable"},
            line | {"method": "lora", "settings": DEFAULT},
            {"rung": "r", "n": 12, "method": "lora", "settings": PUBLISHED, "error": "no"},
        ]
    )
    text = page(table)
    numbers = "1.00 | 0.80 | 0.60 | 0.90 | 0.70 | 0.69 [0.50, 0.80] | 12 | 0.25"
    assert f"| `rome` | {numbers} | 0.05 | 0.01 [0.00, 0.02] | 0.25 | 0.72 (4) |" in text
    assert "| `memit` | refused: not reachable |" in text and f"| `lora` | {numbers} | refused |  |  |  |" in text
    assert "Not measured on r: `ablate`" in text
    assert f"- `memit` (r refused): {tomllib.loads(REASONS.read_text())['memit']}" in text and "- `rome` (r" not in text


def test_what_is_searched_are_settings_that_the_methods_take() -> None:
    for name in method_names():
        for settings in searched(name):
            make_method(name, **settings)
    assert sum(1 for _ in searched("rome")) == 8
    assert harmonic(0.0, 1.0) == harmonic(-0.2, 1.0) == 0.0 and harmonic(0.5, 1.0) == 2 / 3
