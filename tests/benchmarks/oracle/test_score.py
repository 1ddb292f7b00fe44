"""The oracle score by hand, and its limits."""

from __future__ import annotations

from math import isnan, log

import numpy as np
import pytest

from benchmarks.cases import Case, Probe
from benchmarks.oracle import Distances, jensen_shannon, score, scores_of_case
from editing.text import EditRequest

OLD, NEW, UNSURE = np.array([0.9, 0.1]), np.array([0.1, 0.9]), np.array([0.5, 0.5])


def test_divergence_by_hand():
    assert jensen_shannon(OLD, OLD) == 0
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(log(2))
    middle = 0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75)  # of (.5, .5) against the mean (.25, .75)
    assert jensen_shannon(UNSURE, np.array([0.0, 1.0])) == pytest.approx((middle + log(1 / 0.75)) / 2)
    assert jensen_shannon(OLD, NEW) == pytest.approx(jensen_shannon(NEW, OLD))


def test_score_by_hand():
    assert score(Distances(base=0.6, edited=0.1, floor=0.1, probes=3))[0] == pytest.approx(1)
    assert score(Distances(base=0.6, edited=0.6, floor=0.1, probes=3))[0] == 0
    assert score(Distances(base=0.6, edited=0.7, floor=0.1, probes=3))[0] == pytest.approx(-0.2)


def test_a_floor_beyond_half_of_the_change_is_not_measurable():
    value, reason = score(Distances(base=0.2, edited=0.1, floor=0.11, probes=3))
    assert isnan(value)
    assert "50%" in reason


def case() -> Case:
    request = EditRequest("fact:x", ("The capital of {} is",), "France", ("Rome",), "subject_last", "en")
    probes = (
        Probe("efficacy", "The capital of France is", ("Paris", "Rome"), 1, 0),
        Probe("cross_lingual", "La capitale de la France est", ("Paris", "Rome"), 1, 0, lang="fr"),
        Probe("neighbour", "The capital of Spain is", ("Madrid", "Rome"), 0, 0),
        Probe("drift", "Any text."),
    )
    return Case("fact:x", "fact", request, probes, "France", "capital", "test")


def test_an_edit_that_equals_retraining_scores_one_and_no_edit_zero():
    base, oracle = [OLD, OLD, OLD, None], [NEW, NEW, OLD, None]
    as_trained = scores_of_case(case(), base, oracle, oracle, oracle)
    assert (as_trained["score"], as_trained["score_moved"], as_trained["kept"]) == (1, 1, 1)
    untouched = scores_of_case(case(), base, base, oracle, oracle)
    assert (untouched["score"], untouched["score_moved"], untouched["kept"]) == (0, 0, 1)
    assert (untouched["probes"], untouched["probes_moved"], untouched["probes_kept"]) == (3, 2, 1)


def test_harm_to_a_kept_probe_lowers_kept_alone_among_the_parts():
    base, oracle = [OLD, OLD, OLD, None], [NEW, NEW, OLD, None]
    harmful = scores_of_case(case(), base, [NEW, NEW, NEW, None], oracle, oracle)
    assert harmful["score_moved"] == 1
    assert harmful["kept"] == pytest.approx(1 - jensen_shannon(OLD, NEW) / log(2))
    assert harmful["score"] < 1


def test_what_each_model_says_of_the_news_in_either_language():
    base, oracle, edited = [OLD, OLD, OLD, None], [NEW, UNSURE, OLD, None], [NEW, OLD, OLD, None]
    line = scores_of_case(case(), base, edited, oracle, oracle)
    assert (line["news_edited"], line["news_oracle"]) == (0.9, 0.9)
    assert (line["news_other_language_edited"], line["news_other_language_oracle"]) == (0.1, 0.5)


def test_probes_on_which_two_retrained_models_disagree_are_neither_moved_nor_kept():
    line = scores_of_case(
        case(), [OLD, OLD, OLD, None], [OLD] * 3 + [None], [NEW, NEW, OLD, None], [NEW, OLD, OLD, None]
    )
    assert (line["probes"], line["probes_moved"], line["probes_kept"]) == (3, 1, 1)
