"""`where --every`: every place on the test cases that the search met, and the choice beside the best of them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from benchmarks.sweep import EVERY
from benchmarks.sweep.search.adaptive import FINALISTS, every_place
from benchmarks.sweep.search.search_points import Point
from benchmarks.where.choice import best, choices
from benchmarks.where.every import compare, format_beside
from tests.benchmarks.where.test_where import place, rows, walk

DEPTHS = (0.25, 0.75)


def test_every_place_meets_the_same_test_cases_and_the_best_every_dose() -> None:
    found = place(search=EVERY, tests=6, doses=(0.5, 1.0), axes=(("rome", (("depth", DEPTHS),)),))
    steps = walk(every_place(found), lambda method, settings: settings["depth"])
    whole, dosed = steps
    assert {task.cell.method for task in whole} == {"rome"}  # of the plan's methods the first
    met: dict[str, list[str]] = {}
    for task in whole:
        met.setdefault(task.cell.settings, []).extend(case.id for case in task.cases)
    assert len(met) == 3 * 2 * len(DEPTHS)  # sites, lookups
    expected = [case.id for case in found.pools["fact", "world_facts", 0].side("test")[:6]]
    assert all(cases == expected for cases in met.values())
    assert {json.loads(task.cell.settings)["depth"] for task in dosed} == {0.75}
    assert len({task.cell.settings for task in dosed}) == FINALISTS and any(task.cell.doses for task in dosed)


def test_a_place_that_fails_a_gate_at_the_whole_dose_is_measured_at_the_others() -> None:
    found = place(search=EVERY, tests=6, doses=(0.5, 1.0), axes=(("rome", (("depth", DEPTHS),)),))
    schedule = every_place(found)
    next(schedule)

    def read(tasks):
        low = json.loads(tasks[0].cell.settings)["depth"] == DEPTHS[0]
        return Point(0.9, 0.9, gated=True) if low else Point(0.5, 0.5)

    assert {json.loads(task.cell.settings)["depth"] for task in schedule.send(read)} == {DEPTHS[0]}


def test_the_choice_beside_the_best_place_on_the_cases_of_both() -> None:
    """The best place is the search's own at the other dose, .2 above a choice at (.5, .9)."""
    table = rows()
    searched = table[(table["dose"] == 1.0) & table["settings"].str.contains("0.75") & table["case"].ne("c11")]
    chosen = best(choices(searched))["fact"]
    one = compare(searched, table, chosen, 0)
    assert (one.best.dose, one.best.layer, one.n, one.places) == (0.5, 1, 10, 2)
    assert one.every == pytest.approx(0.8) and one.chosen == pytest.approx(2 * 0.5 * 0.9 / 1.4)
    assert one.low == pytest.approx(one.chosen - one.every) == one.high  # the cases are alike
    assert "2 places (layers 3 apart" in format_beside("fact", one, 3)


def test_the_best_of_one_half_is_scored_on_the_other() -> None:
    """Two places that are each good on every second case: the best on one half is worst on the other."""
    table = rows()[lambda t: t["dose"] == 1.0]
    even = table["case"].str[1:].astype(int) % 2 == 0
    first = table["settings"].str.contains("0.25")
    table = pd.DataFrame(table.assign(value=[0.9 if a == b else 0.1 for a, b in zip(even, first, strict=True)]))
    one = compare(table, table, best(choices(table))["fact"], 0)
    assert one.halves == pytest.approx(0.1) and one.every > 0.4
