"""What every reading keeps to, one test for all of them: a new reading is tested by being there."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pandas as pd
import pytest

from benchmarks.readings import COLUMNS, make_reading, reading_names
from benchmarks.readings.base import NONE
from benchmarks.readings.prompts import Material, ReadingInput
from editing.errors import BadRequest
from editing.model import hash_weights
from tests.benchmarks.readings.small import source

pytestmark = pytest.mark.usefixtures("own_cache")

QUICK = {"interchange": {"steps": 4, "swaps": 12, "folds": 2}, "crispness": {"concepts": 2}, "tracing": {"draws": 1}}
COVARIATES = ("exposure",)  # what a fact was, not what the model does with it: has no control
SHARES = ("answer_top1", "first_top1", "dense", "sparse", "dense_recall", "faithfulness", "faithful", "cause", "isolation",
          "key_overlap", "key_overlap_whitened", "unembedding_overlap")  # fmt: skip
PLACE = ["layer", "position", "lang", "relation", "measure"]


@pytest.fixture(scope="module", params=reading_names())
def read(request: pytest.FixtureRequest):
    """A reading and its table on the small model."""
    reading = make_reading(request.param, **QUICK.get(request.param, {}))
    return reading, reading(source())


def test_a_reading_is_frozen_and_says_what_it_is(read) -> None:
    reading, _ = read
    assert reading.name and reading.summary and reading.measures
    with pytest.raises(FrozenInstanceError):
        reading.seed = 1
    with pytest.raises(BadRequest, match="no setting 'nonsense'"):
        make_reading(reading.name, nonsense=1)
    with pytest.raises(BadRequest, match=f"reading {reading.name}: seed=-1; it must be zero or more"):
        make_reading(reading.name, seed=-1)


@pytest.mark.parametrize(
    ("name", "key", "least"),
    [
        ("tracing", "facts", 1), ("tracing", "draws", 1), ("linearity", "examples", 1), ("linearity", "facts", 4),
        ("lens", "facts", 2), ("interchange", "folds", 2), ("interchange", "swaps", 1), ("probes", "folds", 2),
        ("probes", "k", 1), ("probes", "draws", 1), ("interference", "draws", 1), ("crispness", "concepts", 1),
    ],
)  # fmt: skip
def test_a_count_with_which_nothing_is_measured_is_refused(name: str, key: str, least: int) -> None:
    assert getattr(make_reading(name, **{key: least}), key) == least
    with pytest.raises(BadRequest, match=f"reading {name}: {key}={least - 1}; it must be {least} or more"):
        make_reading(name, **{key: least - 1})


def test_rows_have_the_columns_and_measures_that_are_stated(read) -> None:
    reading, table = read
    assert tuple(table.columns) == COLUMNS
    assert len(table) and set(table["measure"]) == set(reading.measures)
    assert (table["n"] >= 0).all() and (table["n"] > 0)[table["value"].notna()].all()
    shares = table[table["measure"].isin(SHARES)]["value"].dropna()
    assert shares.between(0, 1).all()
    inside = table["layer"].dropna()
    assert inside.between(-1, source().lm.n_layers - 1).all()


def test_every_measurement_has_a_control_in_the_same_place(read) -> None:
    _, table = read
    means = table[(table["concept"] == "") & ~table["measure"].isin(COVARIATES)].dropna(subset=["value"])
    for place, part in means.groupby(PLACE, dropna=False):
        controls = set(part["control"])
        assert NONE in controls and len(controls) > 1, place
        assert not part.duplicated("control").any(), place


def test_the_same_seed_gives_the_same_rows_and_no_weight_changes(read) -> None:
    reading, table = read
    lm = source().lm
    before = hash_weights(lm.module)
    pd.testing.assert_frame_equal(reading(source()), table)
    assert hash_weights(lm.module) == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.module.modules())


def test_fewer_layers_are_read_where_the_setting_says_so(read) -> None:
    reading, table = read
    fewer = replace(reading, layers=1)(source())
    assert fewer["layer"].dropna().nunique() <= 1 <= table["layer"].dropna().nunique()


def test_what_the_model_does_not_know_is_a_row_without_a_value(read) -> None:
    """Questions that no model answers right: nothing is measured, and the rows say of how many facts."""
    reading, _ = read
    if reading.name in ("crispness", "interference", "probes"):
        pytest.skip("reads states, whether the facts are known or not")
    questions = tuple(replace(q, target="zzz") for q in source().material.questions)
    table = reading(ReadingInput(source().lm, Material("unknown", ("en", "fr"), questions), source().statistics))
    assert len(table) and table["value"].isna().all() and (table["n"] == 0).all()
    assert set(table["relation"]) == {"colour", "home"}
