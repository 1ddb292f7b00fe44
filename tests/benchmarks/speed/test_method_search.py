"""The search of settings: what is tried, which setting is the best, how much it gains over the default."""

from __future__ import annotations

import json
import time
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from benchmarks.datasets import read_cases
from benchmarks.measure import measure_base
from benchmarks.models import load_model
from benchmarks.speed.methods.grids import FEW, NO_SETTINGS, SAME, SEARCH, tried
from benchmarks.speed.methods.presets import composite_of, composites, measured_methods, outcome
from benchmarks.speed.methods.search import Facts, best_of, on_others, searched
from editing.methods import make_method
from editing.stats import ModelStatistics
from tests.benchmarks.tiny import world


@cache
def facts() -> Facts:
    lm = load_model(world().model)
    cases = read_cases(world().facts, "fact", 3, 0).cases
    return Facts(lm, ModelStatistics(lm, corpus="samples:1500"), cases, measure_base(lm, cases, new_tokens=0))


def test_every_method_is_searched_at_settings_that_it_takes() -> None:
    assert set(measured_methods()) == {*SEARCH, *SAME, *NO_SETTINGS} and set(FEW) < set(SEARCH)
    for few in (False, True):
        for name in FEW if few else SEARCH:
            settings = list(tried(name, few=few))
            assert settings[0] == {} and len(settings) == len({json.dumps(one) for one in settings})
            methods = [make_method(name, **one) for one in settings]
            assert all(one not in methods[:i] for i, one in enumerate(methods)), f"{name}: measured twice"
    for name in set(SEARCH) - {"documents", "lora", "mend"}:  # a training a setting: fewer
        assert 25 <= sum(1 for _ in tried(name)) <= 35, name


def test_depths_that_are_one_block_are_tried_once() -> None:
    one_block, four = (cast(Any, SimpleNamespace(n_layers=n)) for n in (1, 4))
    depths = [
        one["depth"] for one in tried("rome", one_block) if {"lookup": "last", "site": "attn"}.items() <= one.items()
    ]
    assert depths == [0.0]
    assert len(list(tried("rome", four))) == len(list(tried("rome")))


def test_the_best_reaches_the_efficacy_where_any_does() -> None:
    weak, strong = {"efficacy": 0.5, "composite": 0.9}, {"efficacy": 1.0, "composite": 0.4}
    refused, unmeasured = {"efficacy": "", "composite": ""}, {"efficacy": 1.0, "composite": float("nan")}
    assert best_of([refused, weak, unmeasured, strong]) is strong
    assert best_of([refused, weak, unmeasured]) is weak and best_of([refused]) is None


def test_a_paired_interval_is_narrower_than_the_two_alone() -> None:
    draw = np.random.default_rng(0)
    general, special = draw.random(12), draw.random(12)
    composite, low, high = composite_of(general, special)
    assert composite == pytest.approx(composites(general.mean(), special.mean())) and low < composite < high
    gain, below, above = composite_of(np.minimum(general + 0.1, 1), special, (general, special))
    assert 0 < below < gain < above and above - below < (high - low) / 2
    assert composite_of(general, special, (general, special)) == (0.0, 0.0, 0.0)
    assert np.isnan(composite_of(general * np.nan, special)).all()
    missing = np.where(np.arange(12) == 0, np.nan, general)
    assert composite_of(missing, special)[0] == pytest.approx(composites(np.nanmean(missing), special.mean()))
    assert composites(0.0, 1.0) == composites(-0.2, 1.0) == 0.0 and composites(0.5, 1.0) == 2 / 3


@pytest.mark.usefixtures("own_cache")
def test_lines_have_their_gain_and_only_possible_bests_a_placebo(monkeypatch: pytest.MonkeyPatch) -> None:
    weak, strong = {"lr": [1e-4], "steps": [1]}, {"lr": [0.1], "steps": [40]}
    monkeypatch.setitem(SEARCH, "loc_ft", (strong, weak, {"site": ["expert"]}, strong | {"batch": [9]}))
    lines = list(searched(facts(), "loc_ft", [], few=False))
    default, _, one_step, refused, same = lines
    assert default["settings"] == "{}" and default["gain"] == 0.0 and default["composite"] > 0
    assert one_step["efficacy"] < 0.95 and np.isnan(one_step["composite"]) and np.isnan(one_step["gain"])
    assert "expert" in refused["error"] and "efficacy" not in refused
    assert same["efficacy"] == 1.0 and np.isnan(same["composite"]), "no better, even without a placebo"
    assert list(searched(facts(), "loc_ft", lines, few=False)) == []
    every = list(searched(facts(), "loc_ft", [], few=False, whole=True, most=3))
    assert len(every) == 3 and every[2]["composite"] < default["composite"]
    for line in every:
        assert line["gain"] == pytest.approx(line["composite"] - default["composite"], abs=2e-4)
    again = on_others(facts(), "loc_ft", every[1])
    assert again["other_gain"] == pytest.approx(every[1]["gain"]) and again["other_efficacy"] == 1.0


@pytest.mark.usefixtures("own_cache")
def test_a_wrapper_has_a_placebo_too() -> None:
    known = facts()
    about = (known.lm, known.cases, known.base, known.statistics)
    inner = outcome(*about, "ft_m", {"steps": 60}).line
    wrapper = outcome(*about, "rect", {"inner": "ft_m", "options": '{"steps": 60}', "keep": 1.0}).line
    assert inner["placebo"] > 0 and wrapper["placebo"] == inner["placebo"]
    assert wrapper["composite"] == inner["composite"]


@pytest.mark.usefixtures("own_cache")
def test_the_seconds_of_an_edit_leave_out_what_is_made_once_per_model(monkeypatch: pytest.MonkeyPatch) -> None:
    known, cholesky = facts(), torch.linalg.cholesky

    def slow(matrix: torch.Tensor) -> torch.Tensor:
        began = time.process_time()
        while time.process_time() - began < 1.5:
            pass
        return cholesky(matrix)

    monkeypatch.setattr(torch.linalg, "cholesky", slow)
    for settings, places in (({"move_above": 0.0}, 1), ({"move_above": 1e-9, "stop_loss": 1e-9}, 2)):
        fresh = ModelStatistics(known.lm, corpus="samples:1500")
        line = outcome(known.lm, known.cases, known.base, fresh, "rome", settings).line
        assert len(fresh.describe()["sites"]) == places and bool(line["moved"]) == (places == 2)
        assert line["seconds_edit"] < 1.5 / len(known.cases)
