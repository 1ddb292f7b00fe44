"""The effect of the chosen layer: found where there is one, none where all layers are alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.datasets import read_cases
from benchmarks.models import load_model
from benchmarks.speed.methods.layers import Scores, at_every_place, composite, effect_of, per_case
from editing.stats import ModelStatistics
from tests.benchmarks.tiny import world

pytestmark = pytest.mark.usefixtures("own_cache")


def scored(paraphrase: float, kept: float = 1.0, cases: int = 24, seed: int = 0) -> Scores:
    draw = np.random.default_rng(seed).random((cases, 3))
    values = (draw < np.array([paraphrase, kept, kept])).astype(float)
    return per_case(pd.DataFrame(values, columns=["paraphrase", "neighbour", "same_subject"]))


def test_every_place_is_scored_and_one_that_nothing_reads_is_not() -> None:
    lm = load_model(world().model)
    cases = read_cases(world().facts, "fact", 2, 0).cases
    statistics = ModelStatistics(lm, corpus="samples:1500")
    found = dict(at_every_place(lm, cases, statistics, "rome", 1, ("subject_last", "last"), 1))
    assert set(found) == {(layer, lookup) for layer in (0, 1) for lookup in ("subject_last", "last")}
    assert [place for place, table in found.items() if table is None] == [(1, "subject_last")]
    reached = found[1, "last"]
    assert reached is not None and len(reached) == 2 and reached["efficacy"].max() == 1.0


def test_composite_by_hand() -> None:
    table = per_case(pd.DataFrame({"paraphrase": [1.0, 0.0], "neighbour": [1.0, 1.0], "same_subject": [0.0, 1.0]}))
    assert composite(table, np.array([1.0, 0.0])) == pytest.approx(2 / 3)
    assert composite(table, np.array([0.0, 1.0])) == 0.0


def test_a_good_layer_is_found_and_alike_ones_are_not_told_apart() -> None:
    good = effect_of({(n, "last"): scored(0.95 if n == 2 else 0.1, seed=n) for n in range(4)})
    assert (
        set(good.places) == {(2, "last")} and good.low > 0.2 and good.effect == pytest.approx(good.chosen - good.random)
    )
    same = scored(0.6)
    alike = effect_of({(n, lookup): same for n in range(4) for lookup in ("last", "subject_last")})
    assert alike.effect == pytest.approx(0.0) and alike.low <= 0 <= alike.high


def test_a_lucky_layer_of_noise_has_no_effect_on_average() -> None:
    effects = [
        effect_of({(n, "last"): scored(0.5, seed=100 * turn + n) for n in range(6)}).effect for turn in range(20)
    ]
    assert abs(float(np.mean(effects))) < 0.05, "chosen and judged on the same facts"
