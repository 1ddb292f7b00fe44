"""Names are found as whole words of their script, in one Unicode form."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.datasets.reading.fields import located
from benchmarks.datasets.reading.names import fold, mentions
from editing.text import fill

IN = [
    ("The US and the USSR", "US", [(4, 6)]),
    ("unlike the USSR", "US", []),
    ("云港志的作者", "云港", [(0, 2)]),
    ("la capitale de l'Italie", "Italie", [(17, 23)]),
    ("Italy's capital", "Italy", [(0, 5)]),
    ("프랑스의 수도", "프랑스", [(0, 3)]),
    ("عاصمة بفرنسا", "فرنسا", [(7, 12)]),
    ("Brie and brie", "Brie", [(0, 4)]),
    ("the BRIE", "Brie", [(4, 8)]),
    ("Jose\u0301 is", "Jose", []),
    ("José is", "Jose\u0301", [(0, 4)]),
    ("Italian Ian", "Ian", [(8, 11)]),
    ("C++ and C", "C++", [(0, 3)]),
]


@pytest.mark.parametrize(("text", "name", "spans"), IN)
def test_mentions(text: str, name: str, spans: list) -> None:
    assert mentions(text, name) == spans


@given(st.text("aéÉßñ云 한ก'", min_size=1).filter(str.strip))
def test_a_name_mentions_itself_in_every_form(name: str) -> None:
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, name)
        assert mentions(other, name) and fold(other) == fold(name)


@pytest.mark.parametrize(
    ("prompt", "subject", "literal", "text"),
    [
        ("{} comes from", "Brie", True, "Brie comes from"),
        ("In Go, interface{} is", "Go", False, "In Go, interface{} is"),
        ("In Python a[X] calls", "Python", True, "In Python a[X] calls"),
        ("In Python {} is a", "Python", True, "In Python {} is a"),
        ("The [X] of it", "Brie", True, "The Brie of it"),
    ],
)
def test_only_a_declared_slot_is_a_slot(prompt: str, subject: str, literal: bool, text: str) -> None:
    template = located(prompt, subject, literal)
    assert template is not None and fill(*template) == text


def test_the_last_mention_is_the_one() -> None:
    assert located("US here, US there, USSR", "US") == ("US here, {} there, USSR", "US")
