"""Composites: what they notice, by hand, and that no score is made of what it is not meant to be made of."""

from __future__ import annotations

import json

import numpy as np
import pytest

from editing.plugins import BadPlugin
from tests.valley.build import edit, frame, probes
from valley.rows import RowsError
from valley.scores import AnalysisPlan, available, case_scores
from valley.scores.composites import (
    CASE_COLUMNS,
    PRIMARY,
    Composite,
    Means,
    by_name,
    composites,
    defensible,
    failed_gates,
    falls_with_collateral,
    insensitive_to,
)
from valley.scores.resampling import COMPOSITES
from valley.scores.settings import is_placebo_of

PLAN = AnalysisPlan(min_known=2, bootstrap=50)
NEIGHBOURS = {"neighbour": [0.5], "neighbour_plus": [1.0], "same_subject": [0.75], "drift": [1.0]}


def value(rows, name: str) -> float:
    return float(available(rows, PLAN).of(name)["value"].iloc[0])


def edits(placebo: bool = True, more: dict | None = None, **kinds) -> list:
    """Four cases with the same values; with `placebo`, efficacy and paraphrase of the placebo edits are .2."""
    made = [edit(f"c{i}", probes(**(NEIGHBOURS | kinds)), relation=f"r{i % 2}", **(more or {})) for i in range(4)]
    other = probes(efficacy=[0.2], paraphrase=[0.2], neighbour=[1.0])
    return [
        *made,
        *([edit(f"c{i}", other, relation=f"r{i % 2}", method="placebo") for i in range(4)] if placebo else []),
    ]


def test_names_are_unique_and_the_primary_comes_first():
    assert composites()[0].name == PRIMARY
    assert len(set(COMPOSITES)) == len(COMPOSITES) >= 13
    assert {one.on_dev for one in composites()} - {""} <= set(COMPOSITES)
    with pytest.raises(RowsError, match="no composite"):
        by_name("best")


@pytest.mark.parametrize("one", composites(), ids=lambda one: one.name)
def test_every_composite_falls_with_collateral(one):
    assert falls_with_collateral(one)


def test_the_first_study_s_score_and_easyedit_s_have_no_vote():
    blind = {one.name: insensitive_to(one) for one in composites() if insensitive_to(one)}
    kept = ("neighbour", "neighbour_plus", "same_subject")
    assert blind == {"first_study": kept, "first_study_net": kept, "easyedit_mean": ("neighbour",)}
    assert {one.name for one in composites()} - {one.name for one in defensible()} == set(blind)


def test_primary_by_hand():
    gen = (0.6 - 0.2) / (1 - 0.2)
    spec = (0.5 + 1.0 + 0.75) / 3
    rows = frame(*edits(efficacy=[1.0], paraphrase=[0.6]))
    assert np.isclose(value(rows, PRIMARY), 2 * gen * spec / (gen + spec))
    assert np.isclose(value(rows, "harmonic_raw_all"), 2 * 0.6 * spec / (0.6 + spec))
    assert np.isclose(value(rows, "harmonic_raw_all_without_same_subject"), 2 * 0.6 * 0.75 / (0.6 + 0.75))


def test_without_a_placebo_what_is_above_it_is_not_measurable():
    rows = frame(*edits(placebo=False, efficacy=[1.0], paraphrase=[0.6]))
    assert np.isnan(value(rows, PRIMARY))
    assert not np.isnan(value(rows, "harmonic_raw_all"))


def test_efficacy_transfer_and_integrity_are_no_part():
    plain = frame(*edits(efficacy=[1.0], paraphrase=[0.6]))
    more = {"cross_lingual_fr": [0.0], "fluency": [0.9], "ability": [0.9], "drift": [0.7]}
    other = frame(*edits(efficacy=[0.8], paraphrase=[0.6], **more))
    names = [one.name for one in defensible()]
    first, second = (available(rows, PLAN) for rows in (plain, other))
    columns = [first.column(name) for name in names]
    assert np.allclose(first.values[:, columns], second.values[:, columns], equal_nan=True)
    assert np.isfinite(first.values[:, columns]).any(axis=0).sum() >= 5


@pytest.mark.parametrize("value", [1.5, -0.2, np.inf])
def test_a_composite_outside_its_range_is_refused_and_nan_is_not(value):
    for given, refused in ((value, True), (np.nan, False), (1.0, False)):
        one = Composite("mine", "a file of one's own", lambda means, given=given: np.array([0.5, given]))
        if refused:
            with pytest.raises(BadPlugin, match=r"composite mine: gives .*; keep its function within \[0, 1\]"):
                one(Means({}))
        else:
            np.testing.assert_equal(one(Means({})), [0.5, given])


def test_an_edit_that_fails_a_gate_makes_nothing_available():
    for broken in ({"drift": [0.3]}, {"fluency": [0.5]}, {"ability": [0.2]}, {"efficacy": [0.3]}):
        rows = frame(*edits(**({"efficacy": [1.0], "paraphrase": [0.6]} | broken)))
        assert value(rows, PRIMARY) == 0, broken


def test_gates_name_what_failed():
    values = {name: np.array([1.0]) for name in ("efficacy", "drift", "fluency", "ability")}
    assert failed_gates(Means(values)) == {}
    assert failed_gates(Means(values | {"drift": np.array([0.4])})) == {"drift": 0.4}
    assert failed_gates(Means(values | {"drift": np.array([np.nan])})) == {}
    above = Means(values | {"efficacy": np.array([0.9])}, {"efficacy": np.array([0.85])})
    assert failed_gates(above) == {"efficacy": pytest.approx(1 / 3)}


def test_own_language_leaves_the_other_out():
    rows = frame(*edits(efficacy=[1.0], paraphrase=[0.6], neighbour=[1.0], neighbour_fr=[0.0]))
    assert np.isclose(value(rows, "harmonic_raw_all_without_same_subject"), 2 * 0.6 * 0.75 / 1.35)
    assert np.isclose(value(rows, "harmonic_raw_own_without_same_subject"), 2 * 0.6 * 1.0 / 1.6)


def test_doses_by_hand():
    """Doses 1 and 2: (.5, .95) and (1, .5). Area: .5 from .95 down to .5, then 1."""
    parts = []
    for dose, gen, spec in ((1.0, 0.5, 0.95), (2.0, 1.0, 0.5)):
        kinds = probes(efficacy=[1.0], paraphrase=[gen], neighbour=[spec], neighbour_plus=[spec], same_subject=[spec])
        parts += [edit(f"c{i}", kinds, dose=dose) for i in range(4)]
    rows = frame(*parts)
    assert np.isclose(value(rows, "dose_area"), 0.5 * 0.45 + 1.0 * 0.5)
    assert np.isclose(value(rows, "dose_gen_at_spec"), 0.5)
    one = frame(*parts[:4])
    assert np.isnan(value(one, "dose_area")) and np.isnan(value(one, "dose_gen_at_spec"))


def test_rows_at_other_doses_leave_every_other_score_as_it_is():
    kinds = probes(efficacy=[1.0], paraphrase=[0.5], neighbour=[1.0])
    plain = [edit(f"c{i}", kinds, dose=1.0) for i in range(4)]
    wild = [edit(f"c{i}", probes(efficacy=[0.0], paraphrase=[0.0], neighbour=[0.0]), dose=2.0) for i in range(4)]
    one, two = case_scores(frame(*plain)), case_scores(frame(*plain, *wild))
    same = [name for name in one.columns if not name.startswith("dose")]
    assert one[same].equals(two[same])


def test_published_composites_read_probabilities_where_the_rows_have_them():
    first = {"logp_after": -1.0, "logp_rival_after": -3.0, "answer_tokens": 1.0, "rival_tokens": 1.0}
    rows = frame(*edits(more=first, efficacy=[1.0], paraphrase=[1.0]))
    assert value(rows, "counterfact_s") == 1
    worse = frame(*edits(more=first | {"logp_rival_after": 0.0}, efficacy=[1.0], paraphrase=[1.0]))
    assert value(worse, "counterfact_s") == 0
    assert np.isnan(value(frame(*edits(efficacy=[1.0])), "counterfact_s"))


def test_counterfact_s_without_one_of_its_parts_is_not_measurable():
    """ES of 0 made it 0 where PS was missing, ES of .1 made it NaN."""
    parts = {"es": [0.0, 0.1, 0.0, 0.5], "ps": [np.nan, np.nan, 0.5, 0.5], "ns": [0.5, 0.5, 0.5, 0.5]}
    values = by_name("counterfact_s")(Means({name: np.array(part) for name, part in parts.items()}))
    assert np.array_equal(values, [np.nan, np.nan, 0.0, 0.5], equal_nan=True)


def test_a_placebo_is_of_its_inner_method_and_setting():
    settings = json.dumps({"clamp": 4.0, "depth": 0.5, "site": "mlp", "lookup": "last", "seed": 0})
    placebo = {"inner": "rome", "site": "mlp", "lookup": "last", "depth": 0.5, "options": json.dumps({"clamp": 4.0})}
    assert is_placebo_of(json.dumps(placebo), "rome", settings)
    for other in ({"inner": "memit"}, {"depth": 0.2}, {"site": "value"}, {"options": json.dumps({"clamp": 1.0})}):
        assert not is_placebo_of(json.dumps(placebo | other), "rome", settings)


def test_case_columns_are_in_every_table_of_case_scores():
    assert set(CASE_COLUMNS) <= set(case_scores(frame(*edits(efficacy=[1.0]))).columns)
