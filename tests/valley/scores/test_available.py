"""What a rung makes available: hypervolume by hand, choice on dev and score on test, the random-site control, seeds
pooled."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from tests.valley.build import NAN, edit, frame, probes, seeded
from valley.scores.available import Available, available, hypervolume
from valley.scores.plan import AnalysisPlan
from valley.scores.sizes import ALL_SIZES, SHOWN, by_size, editability, format_editability

PLAN = AnalysisPlan(min_known=2, bootstrap=200)


def value(result: Available, metric: str, **where: object) -> float:
    table = result.of(metric)
    for name, expected in where.items():
        table = table[table[name] == expected]
    (only,) = table["value"]
    return float(only)


def test_hypervolume_by_hand():
    # Steps: Gen .9 up to Spec .5, .6 up to .8, .2 up to 1.
    assert np.isclose(
        hypervolume(np.array([0.9, 0.2, 0.6]), np.array([0.5, 1.0, 0.8])), 0.9 * 0.5 + 0.6 * 0.3 + 0.2 * 0.2
    )
    assert np.isclose(hypervolume(np.array([0.5]), np.array([0.9])), 0.45)
    assert np.isclose(hypervolume(np.array([0.5, 0.4]), np.array([0.9, 0.5])), 0.45), "a beaten setting adds nothing"
    assert np.isclose(hypervolume(np.array([0.5, NAN]), np.array([0.9, 1.0])), 0.45)
    assert (
        np.isnan(hypervolume(np.array([NAN]), np.array([1.0]))) and hypervolume(np.array([-0.2]), np.array([1.0])) == 0
    )


def test_hypervolume_equals_the_integral():
    rng = np.random.default_rng(0)
    gen, spec = rng.uniform(size=(20, 5)), rng.uniform(size=(20, 5))
    s = (np.arange(20000) + 0.5) / 20000
    for g, q, result in zip(gen, spec, hypervolume(gen, spec), strict=True):
        reach = np.where(q[None] >= s[:, None], g[None], 0).max(axis=1)
        assert abs(reach.mean() - result) < 1e-3


def two_settings() -> pd.DataFrame:
    """A bold setting (gen 1, spec .5) and a careful one (gen .6, spec 1) on dev; on test each is .1 worse in gen."""
    parts = []
    for name, gen, spec in (("bold", 1.0, 0.5), ("careful", 0.6, 1.0), ("useless", 0.1, 0.4)):
        for c in range(9):
            dev = c % 3 == 0
            parts.append(edit(f"c{c}", probes(paraphrase=[gen if dev else gen - 0.1], neighbour=[spec]), relation=f"r{c % 2}",
                              settings=json.dumps({"x": name}), split="dev" if dev else "test"))  # fmt: skip
    for c in range(9):
        parts.append(edit(f"c{c}", probes(paraphrase=[0.2], neighbour=[1.0]), relation=f"r{c % 2}", method="random_site",
                          split="dev" if c % 3 == 0 else "test"))  # fmt: skip
    return frame(*parts)


def test_front_is_chosen_on_dev_and_scored_on_test():
    result = available(two_settings(), PLAN)
    assert list(result.lines["method"]) == ["rome"] and result.lines["n_front"].iloc[0] == 2
    assert np.isclose(value(result, "e_hv"), 0.9 * 0.5 + 0.5 * 0.5)
    assert np.isclose(value(result, "gen_at_spec"), 0.5) and np.isclose(value(result, "spec_at_spec"), 1.0)
    best = 2 * 0.5 / 1.5  # the careful setting has the better harmonic mean on dev, .75 against .667
    assert np.isclose(value(result, "score"), best)
    assert np.isclose(value(result, "delta_loc"), best - 2 * 0.2 / 1.2)


def test_no_setting_specific_enough_generalises_zero():
    parts = [edit(f"c{i}", probes(paraphrase=[1.0], neighbour=[0.5]), relation=f"r{i % 2}") for i in range(6)]
    result = available(frame(*parts), PLAN)
    assert value(result, "gen_at_spec") == 0 and value(result, "spec_at_spec") == 1
    assert np.isnan(value(result, "delta_loc")) and np.isnan(value(result, "delta_layer"))


def test_scores_without_specificity_are_not_measurable():
    result = available(frame(*(edit(f"c{i}", probes(efficacy=[1.0])) for i in range(4))), PLAN)
    assert np.isnan(value(result, "e_hv")) and np.isnan(value(result, "score")) and value(result, "efficacy") == 1


def test_placebo_is_taken_off_the_generalisation():
    parts = [edit(f"c{i}", probes(paraphrase=[0.6], neighbour=[1.0])) for i in range(4)]
    parts += [edit(f"c{i}", probes(paraphrase=[0.2], neighbour=[1.0]), method="placebo") for i in range(4)]
    result = available(frame(*parts), PLAN)
    assert np.isclose(value(result, "generalisation"), 0.5)


def test_the_placebo_of_another_method_or_setting_is_not_taken_off():
    parts = [edit(f"c{i}", probes(paraphrase=[0.6], neighbour=[1.0])) for i in range(4)]
    for inner, depth in (("ike", 0.5), ("rome", 0.3)):
        settings = json.dumps({"inner": inner, "depth": depth, "options": "{}"})
        other = [
            edit(f"c{i}", probes(paraphrase=[0.2], neighbour=[1.0]), method="placebo", settings=settings)
            for i in range(4)
        ]
        assert np.isnan(value(available(frame(*parts, *other), PLAN), "generalisation"))


def test_the_hypervolume_of_one_setting_is_not_measurable():
    parts = [edit(f"c{i}", probes(paraphrase=[1.0], neighbour=[0.5])) for i in range(6)]
    assert np.isnan(value(available(frame(*parts), PLAN), "e_hv"))


def test_seeds_are_pooled_and_redrawn():
    result = available(seeded([0.4, 0.6], seeds=2, methods=("rome",), luck=0.1), PLAN)
    table = by_size(result, "generalisation")
    assert list(table["size"]) == ["m0", "m1", ALL_SIZES] and list(table["seeds"]) == [2, 2, 4]
    models = result.of("generalisation").groupby("size")["value"].mean()
    assert np.allclose(table["value"], [*models, models.mean()])
    narrow = result.of("generalisation")
    width = (narrow["high"] - narrow["low"]).mean()
    assert (table["high"] - table["low"]).iloc[0] > width, "seeds that differ widen the interval of their size"
    assert by_size(result, "generalisation").equals(table)


def test_sizes_whose_cases_are_all_equal_have_the_interval_of_a_share():
    """Before: 1 to 1 of six cases."""
    rows = frame(*(edit(f"c{i}", probes(paraphrase=[1.0], neighbour=[1.0]), relation=f"r{i % 3}") for i in range(6)))
    result = available(rows, PLAN)
    one = result.of("generalisation")[["low", "high"]].iloc[0].tolist()
    assert one == pytest.approx([0.025 ** (1 / 6), 1])
    assert by_size(result, "generalisation")[["low", "high"]].to_numpy() == pytest.approx(np.array([one, one]))


def test_too_few_cases_are_said():
    result = available(seeded([0.4, 0.6]), AnalysisPlan(min_known=50, bootstrap=20))
    text = format_editability(editability(result))
    assert "n/a (24 cases, 50 needed)" in text and set(editability(result)["metric"]) == set(SHOWN)
    shown = format_editability(editability(available(seeded([0.4, 0.6]), PLAN)))
    assert (
        "dE_layer" not in shown
        and "E_HV" not in shown
        and "score" in shown
        and ALL_SIZES in shown
        and "n/a" not in shown.replace("net transfer", "")
    )
