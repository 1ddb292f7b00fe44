"""docs/reference/methods.md is what the committed tables and the methods there are make of it."""

from __future__ import annotations

import json
import tomllib

import pandas as pd

from benchmarks.speed.methods.search_page import OPEN, REASONS, missed
from benchmarks.speed.methods.table import DEFAULT, PAGE, PUBLISHED, SEARCHED, TABLE, page
from editing.methods import make_method, method_names

LINE = {"rung": "r", "n": 12, "efficacy": 1.0, "paraphrase": 0.8, "neighbour": 0.9, "same_subject": 0.7}
LINE |= {"placebo": 0.5, "generalisation": 0.6, "specificity": 0.8, "composite": 0.69, "low": 0.5, "high": 0.8}
LINE |= {"seconds_edit": 0.25, "moved": 12, "error": ""}
SEARCH = LINE | {"method": "rome", "gain": 0.0, "gain_low": 0.0, "gain_high": 0.0}
SEARCH |= {"other_gain": None, "other_low": None, "other_high": None}


def test_the_page_is_up_to_date_and_has_every_reason_and_no_other() -> None:
    table, search = pd.read_csv(TABLE), pd.read_csv(SEARCHED)
    known = set(method_names())
    assert {*table["method"], *search["method"]} <= known, "run `python -m benchmarks.speed.methods.table` again"
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(table, search) and OPEN not in text
    where = missed(table, search, DEFAULT)
    why = tomllib.loads(REASONS.read_text(encoding="utf-8"))
    for kind, reasons in why.items():
        assert set(reasons) == set(where[kind]), f"[{kind}]: reasons for what is not missed"
    for name, settings in zip(search["method"], search["settings"], strict=True):
        make_method(name, **json.loads(settings))


def test_a_line_has_both_presets_and_the_reason() -> None:
    low = {"efficacy": 0.05, "composite": 0.01, "low": 0.0, "high": 0.02}
    table = pd.DataFrame(
        [
            LINE | {"method": "rome", "settings": DEFAULT},
            LINE | low | {"method": "rome", "settings": PUBLISHED},
            {"rung": "r", "n": 12, "method": "lre", "settings": DEFAULT, "error": "request 'x': not reachable"},
            LINE | {"method": "lora", "settings": DEFAULT},
            LINE | {"method": "memit", "settings": DEFAULT, "n": 4},
            {"rung": "r", "n": 12, "method": "lora", "settings": PUBLISHED, "error": "no"},
            LINE | low | {"method": "memit", "settings": PUBLISHED, "n": 2},
        ]
    )
    text = page(table, pd.DataFrame([SEARCH | {"rung": "other", "settings": DEFAULT}]))
    numbers = "1.00 | 0.80 | 0.60 | 0.90 | 0.70 | 0.69 [0.50, 0.80] | 12 | 0.25"
    assert f"| `rome` | {numbers} | 0.05 | 0.01 [0.00, 0.02] | 0.25 |" in text and "Search on r" not in text
    assert f"| `memit` (4 facts) | {numbers} | 0.05 (2 facts) | 0.01 [0.00, 0.02] | 0.25 |" in text
    assert "| `lre` | refused: not reachable |" in text and f"| `lora` | {numbers} | refused |  |  |" in text
    assert "Not measured on r: `alphaedit`" in text
    reason = tomllib.loads(REASONS.read_text())["efficacy"]["lre"]
    assert f"- `lre` (r refused): {reason}" in text and "- `rome` (r" not in text


def test_a_search_shows_its_best_with_paired_intervals_and_marks_what_the_default_misses() -> None:
    better = {"composite": 0.76, "gain": 0.07, "gain_low": -0.01, "gain_high": 0.15}
    other = {"other_gain": 0.06, "other_low": -0.05, "other_high": 0.09}
    table = pd.DataFrame([LINE | {"method": "rome", "settings": DEFAULT, "efficacy": 0.9}])
    search = pd.DataFrame(
        [
            SEARCH | {"settings": DEFAULT, "efficacy": 0.9},
            SEARCH | better | other | {"settings": '{"depth": 0.5, "clamp": 2.0}'},
            SEARCH | {"settings": '{"depth": 0.9}', "composite": 0.99, "efficacy": 0.5},  # below ENOUGH: not the best
            SEARCH | {"settings": '{"depth": 0.1}', "composite": None, "gain": None},  # its placebo was not measured
            SEARCH | {"settings": DEFAULT, "method": "lre", "composite": None, "efficacy": None, "error": "no"},
        ]
    )
    text = page(table, search)
    gains = "+0.07 [-0.01, +0.15] | +0.06 [-0.05, +0.09]"
    assert f"| **`rome`** | 4 | 2 | 0.69 | 0.76 | {gains} | depth=0.5, clamp=2.0 |" in text
    assert "| `lre` | 1 | 0 | refused | all refused |" in text
    assert "Not searched on r: `alphaedit`, " in text and "`lora`, `memit`, `memit_iterative`, `mend`" in text
    assert (
        "- `rome` (r 0.90, 2 of 4 settings reach 0.95)" in text and "- `rome` (r +0.07, +0.06 on other facts)" in text
    )
    assert "**Of 2 pairs of a method and a model, 0 meet it:**" in text
    assert "\n- met on every model that was searched: no method.\n" in text
    assert "\n- `rome` misses it: r efficacy 0.90 and composite -0.07, -0.06 on other facts.\n" in text
    assert "\n- `lre` misses it, as no setting reaches efficacy 0.95: r.\n" in text
    search.loc[1, "other_gain"] = 0.04
    text = page(table, search)
    above, chance = text.split("## Best settings that do not hold on other facts")
    assert "- `rome` (r +0.07, +0.04 on other facts)" in chance and "- `rome` (r +0.07" not in above
    assert "\n- `rome` misses it: r efficacy 0.90.\n" in text
    search.loc[0, "efficacy"] = 0.95
    text = page(table, search)
    assert "1 meet it:**" in text and "- met on every model that was searched: `rome`.\n- `lre`" in text
