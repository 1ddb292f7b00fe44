"""Methods whose edits know of each other: the rule holds within one call and across calls alike."""

from __future__ import annotations

import pytest
import torch

from editing.delta import Codebook, Dense, LowRank
from editing.methods import apply_sequence, make_method, method_names, taken_by
from editing.methods.base import Method
from tests.editing.worked import CONTRACT_REQUESTS, distance


def has_rule(name: str) -> bool:
    method = make_method(name)
    return type(method).step is not Method.step or method.beside_weights


def few_steps(name: str) -> Method:
    few = {"steps": 6, "prefixes": 1, "short_prefixes": 1, "long_prefixes": 1}
    return make_method(name, **taken_by(name, few | {"options": '{"steps": 6}'}))


WITH_RULE = [name for name in method_names() if has_rule(name)]


def test_the_methods_with_a_rule_are_known():
    assert {"grace", "alphaedit", "ultraedit"} <= set(WITH_RULE)


@pytest.mark.parametrize("name", WITH_RULE)
def test_one_call_is_a_sequence_of_one_batch(trained_lm, statistics, name):
    method = few_steps(name)
    called = method(trained_lm, CONTRACT_REQUESTS, statistics)
    piled = apply_sequence(trained_lm, method, CONTRACT_REQUESTS, statistics, batch=3)
    assert called.factors.keys() == piled.factors.keys()
    for place, change in called.factors.items():
        other = piled.factors[place]
        if isinstance(change, LowRank | Dense) and isinstance(other, LowRank | Dense):
            assert distance(change.dense(), other.dense()) < 1e-4
        else:
            assert_same_book(change, other)


@pytest.mark.parametrize("name", [name for name in WITH_RULE if make_method(name).beside_weights])
def test_a_memory_beside_the_weights_does_not_depend_on_the_batches(trained_lm, statistics, name):
    # To the end, since half-way an edit depends on those beside it; with balls that do not meet, since an edit whose
    # key lies in another's ball reads that one's answer.
    method = make_method(name, radius=0.3)
    (one,) = method(trained_lm, CONTRACT_REQUESTS, statistics).factors.values()
    (each,) = apply_sequence(trained_lm, method, CONTRACT_REQUESTS, statistics, batch=1).factors.values()
    assert_same_book(one, each)


def assert_same_book(one: object, other: object) -> None:
    assert isinstance(one, Codebook) and isinstance(other, Codebook)
    assert torch.equal(one.labels, other.labels) and torch.allclose(one.radius, other.radius, rtol=1e-3)
    assert torch.allclose(one.keys, other.keys, atol=1e-4) and torch.allclose(one.values, other.values, atol=1e-2)
