"""Edits taken out again: the opposite of an edit, one edit out of many, and what cannot be taken out."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from editing.delta import Delta, compose
from editing.delta.changes import Shift
from editing.delta.delta import subtract
from editing.errors import BadRequest
from editing.methods import make_method
from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics
from tests.editing.worked import REQUESTS, distance


def test_an_edit_and_its_opposite_are_nothing(trained_lm: LanguageModel, statistics: ModelStatistics) -> None:
    for name in ("rome", "memit", "ft_m", "lora", "embedding", "steer"):
        (delta,) = make_method(name, steps=3).each(trained_lm, REQUESTS[:1], statistics)
        nothing = compose([delta, delta.scaled(-1)])
        for place, change in nothing.factors.items():
            left = change.vector if isinstance(change, Shift) else change.dense()
            assert float(left.norm()) <= 1e-6 * delta.factors[place].norm()
        assert subtract(delta, delta).factors == {} or name in ("ft_m", "steer")


def test_one_out_of_many(trained_lm: LanguageModel, statistics: ModelStatistics) -> None:
    for name in ("rome", "memit", "grace", "ike"):
        singles = make_method(name, depth=0.5).each(trained_lm, REQUESTS[:4], statistics)
        left, expected = subtract(compose(singles), singles[1]), compose([singles[0], *singles[2:]])
        assert left.context == expected.context and left.weights == expected.weights
        for place, change in expected.factors.items():
            fields = [f.name for f in dataclasses.fields(change)]
            assert all(torch.equal(getattr(left.factors[place], f), getattr(change, f)) for f in fields)


def test_what_was_solved_jointly_is_undone_by_the_opposite(trained_lm, statistics) -> None:
    one, two = make_method("ft_m", depth=0.5).each(trained_lm, REQUESTS[:2], statistics)
    (rome,) = make_method("rome", depth=0.5).each(trained_lm, REQUESTS[2:3], statistics)
    left = subtract(compose([one, two, rome]), two)
    (place,) = left.weights
    expected = one.factors[place].dense() + rome.factors[place].dense()
    assert distance(left.factors[place].dense(), expected) < 1e-6


def test_what_is_not_there_cannot_be_taken_out(trained_lm, statistics) -> None:
    first, second = make_method("grace", depth=0.5).each(trained_lm, REQUESTS[:2], statistics)
    with pytest.raises(BadRequest, match="an entry of the codebook"):
        subtract(first, second)
    with pytest.raises(BadRequest, match="no codebook"):
        subtract(Delta({}), second)
    with pytest.raises(BadRequest, match="context"):
        subtract(Delta({}, context="New fact: a."), Delta({}, context="New fact: b."))
