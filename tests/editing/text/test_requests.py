"""What an edit request may be, and how prompt and target become one text."""

from __future__ import annotations

import dataclasses

import pytest

from editing.errors import BadRequest, UserError
from editing.text.borders import join
from editing.text.requests import EditRequest


def test_one_target_serves_all_prompts() -> None:
    request = EditRequest("a", ("{} is", "{} was"), "Brie", ("old",))
    assert request.targets == ("old", "old") and request.filled() == ("Brie is", "Brie was")


def test_a_rename_needs_no_slot_and_may_have_one() -> None:
    assert EditRequest("a", ("It is called",), "", ("bread",), lookup="last").filled() == ("It is called",)
    assert EditRequest("a", ("{} is called",), "It", ("bread",), lookup="last").filled() == ("It is called",)


BAD = {
    "no prompt": {"prompts": ()},
    "2 targets for 1 prompts": {"targets": ("a", "b")},
    "0 targets for 1 prompts": {"targets": ()},
    "unknown lookup 'first'": {"lookup": "first"},
    "has 0 subject slots": {"prompts": ("Brie is",)},
    "has 2 subject slots": {"prompts": ("{} and {} are",)},
    "empty subject": {"subject": "  "},
    "empty target": {"targets": ("",)},
    "empty prompt": {"prompts": (" ",), "lookup": "last"},
}


@pytest.mark.parametrize("why", BAD)
def test_mistakes_are_named_in_one_line(why: str) -> None:
    good = {"id": "r7", "prompts": ("{} is",), "subject": "Brie", "targets": ("old",)}
    EditRequest(**good)
    with pytest.raises(BadRequest, match=why) as caught:
        EditRequest(**good | BAD[why])
    assert "'r7'" in str(caught.value) and "\n" not in str(caught.value) and isinstance(caught.value, UserError)


def test_a_target_of_blanks_is_empty() -> None:
    with pytest.raises(BadRequest, match="empty target"):
        EditRequest("a", ("{} is",), "Brie", (" \n",))


def test_requests_are_frozen() -> None:
    request = EditRequest("a", ("{} is",), "Brie", ("old",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.subject = "x"  # pyright: ignore[reportAttributeAccessIssue]
    assert request == EditRequest("a", ("{} is",), "Brie", ("old",)) and hash(request)


@pytest.mark.parametrize(
    ("prompt", "target", "whole"),
    [
        ("The capital is", "Paris", "The capital is Paris"),
        ("La capitale de l'", "Italie", "La capitale de l'Italie"),
        ("La capitale de l’", "Italie", "La capitale de l’Italie"),
        ("Answer: ", "Paris", "Answer: Paris"),
        ("Line\n", "Paris", "Line\nParis"),
        ("", "Paris", "Paris"),
    ],
)
def test_join(prompt: str, target: str, whole: str) -> None:
    assert join(prompt, target) == whole
