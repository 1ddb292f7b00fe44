"""Requests from Python: mistakes are one line, and the order of prompts says nothing."""

from __future__ import annotations

import pytest

import editing
from editing.errors import BadRequest
from editing.text import edit_set


def test_the_order_of_the_prompts_says_nothing() -> None:
    one = editing.Request(["{} eats", "{} drinks"], "A", ["x", "y"])
    same = editing.Request(["{} drinks", "{} eats"], "A", ["y", "x"])
    other = editing.Request(["{} drinks", "{} eats"], "A", ["x", "y"])
    assert edit_set([one, same]).duplicates == (1,) and not edit_set([one, same]).excluding
    assert edit_set([one, other]).excluding == (0, 1) and not edit_set([one, other]).duplicates


@pytest.mark.parametrize(
    "more",
    [
        {"documents": ["A text."]},
        {"documents": "A text."},
        {"documents": [("en", 3)]},
        {"documents": 3},
        {"lang": None},
    ],
)
def test_mistakes_in_a_request_are_one_line(more: dict) -> None:
    with pytest.raises(BadRequest):
        editing.Request("{} is", "A", "b", **more)
