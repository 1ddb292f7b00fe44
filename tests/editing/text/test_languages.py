"""Languages in every form that files use."""

from __future__ import annotations

import pytest

from editing.errors import BadRequest
from editing.text import EditRequest, essence_of, language_code, language_of_text


@pytest.mark.parametrize("name", ["fr", "FR", "fra", "fre", "French", "french", "français", "fr-CA", "fr_FR.UTF-8"])
def test_french_in_every_form(name: str) -> None:
    assert language_code(name) == "fr"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("German", "de"),
        ("zh-Hans", "zh"),
        ("zh-cn", "zh"),
        ("cz", "cs"),
        ("du", "nl"),
        ("日本語", "ja"),
        ("Thai", "th"),
    ],
)
def test_others(name: str, code: str) -> None:
    assert language_code(name) == code


@pytest.mark.parametrize("name", ["", "xx", "english language of mine", "12"])
def test_an_unknown_language_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(BadRequest, match=r"unknown language .*, de, .*, fr, .*, zh"):
        language_code(name)


def test_the_script_suggests_a_language() -> None:
    texts = {
        "The capital": "en",
        "法国的首都": "zh",
        "フランスの首都": "ja",
        "เมือง": "th",
        "столица": "ru",
        "عاصمة": "ar",
    }
    assert {text: language_of_text(text) for text in texts} == texts


def test_a_request_keeps_the_code() -> None:
    assert EditRequest("r", ("{} est",), "Brie", ("bon",), lang="French").lang == "fr"
    assert essence_of("de") == "{} ist ein" and essence_of("eu") == "{} ("


def test_braces_of_the_text_are_doubled() -> None:
    request = EditRequest("r", ("In {} it is interface{{}} or",), "Go", ("any",))
    assert request.filled() == ("In Go it is interface{} or",)
