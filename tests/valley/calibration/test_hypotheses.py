"""The simulated runs are what they say, the table is whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valley.calibration.hypotheses import (
    ALONE,
    CLEAR,
    NOT_SIMULATED,
    NULLS,
    RUNS,
    SATURATING,
    WITHIN_RELATIONS,
    case_list,
    concept_types,
    models,
    rates,
    worlds,
)
from valley.calibration.run import format_hypotheses
from valley.hypotheses.judge import hypotheses, judge


def test_every_hypothesis_but_the_valley_and_those_of_readings_is_calibrated():
    assert set(RUNS) == set(hypotheses()) - NOT_SIMULATED
    assert SATURATING in {world.name for world in worlds("H2")} and all(worlds(name)[-1] == CLEAR for name in RUNS)


def test_models_are_missing_as_asked():
    whole, part = (models(world, np.random.default_rng(0)) for world in NULLS[:2])
    assert len(whole) == 27 and 12 <= len(part) < 25 and {m.size for m in part} >= {0, 2, 4, 6, 8}


def test_most_subjects_may_be_alone_in_their_relation():
    """As in CounterFact, where samples have many relations with one fact; tests within relations meet this world."""
    for name in WITHIN_RELATIONS:
        assert "within" in hypotheses()[name].TEST and ALONE in worlds(name)
    subjects = case_list(ALONE, "fact").groupby("cluster")["subject"].nunique()
    assert sorted(subjects) == [1] * 12 + [8]
    assert sorted(np.unique(concept_types(ALONE), return_counts=True)[1]) == [1] * 12 + [8]


@pytest.mark.slow
def test_a_true_null_is_not_rejected_too_often_where_most_subjects_are_alone():
    """Before, H3 rejected .20 of them."""
    assert rates("H3", ALONE, 100)["rejected"] <= 0.12


@pytest.mark.parametrize("name", RUNS)
def test_a_clear_effect_is_found_and_never_refuted(name: str):
    result = [judge(RUNS[name](CLEAR, True, np.random.default_rng(seed)), (name,))[0] for seed in range(2)]
    assert "supported" in {r.verdict for r in result} and "refuted" not in {r.verdict for r in result}


def test_a_line_of_the_table_and_its_page():
    line = rates("H1", NULLS[0], 2)
    assert line["rejected_low"] <= line["rejected"] <= line["rejected_high"] and line["truth"] == "null"
    assert sum(line[v] for v in ("supported", "refuted", "inconclusive")) == pytest.approx(1)
    assert "| H1 | plain | null | 2 |" in format_hypotheses(pd.DataFrame([line]))
    often = line | {"world": "few cases", "rejected": 0.15, "rejected_low": 0.09}
    text = format_hypotheses(pd.DataFrame([line | {"rejected_low": 0.03}, often, often | {"truth": "effect"}]))
    assert "rejects too often (the interval lies above 0.05): H1 with few cases (0.15)." in text
