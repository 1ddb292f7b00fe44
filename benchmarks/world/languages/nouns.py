"""German and Chinese nouns, and what stands before them: articles with gender and case, measure words.

Every function returns the words before the bare noun with the blank that joins them: `dative(noun) + noun.name`. German
names stay bare in every template: none of ours changes by case, so that a subject is always the same text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from editing.errors import BadData

Case = Literal["nominative", "accusative", "dative"]
DEFINITE: Mapping[str, Mapping[str, str]] = {
    "nominative": {"m": "der", "f": "die", "n": "das", "p": "die"},
    "accusative": {"m": "den", "f": "die", "n": "das", "p": "die"},
    "dative": {"m": "dem", "f": "der", "n": "dem", "p": "den"},
}
INDEFINITE: Mapping[str, Mapping[str, str]] = {
    "nominative": {"m": "ein", "f": "eine", "n": "ein"},
    "accusative": {"m": "einen", "f": "eine", "n": "ein"},
    "dative": {"m": "einem", "f": "einer", "n": "einem"},
}


@dataclass(frozen=True)
class German:
    """A German noun as far as its article goes.

    Attributes:
        name: the bare noun, "Käse".
        gender: "m", "f", "n", or "p" for a plural ("USA").
        article: False for the names that take none ("Frankreich") and for bare answers.
        mass: no indefinite article ("Käse", "Wasser").
    """

    name: str
    gender: Literal["m", "f", "n", "p"] = "n"
    article: bool = True
    mass: bool = False

    def __post_init__(self) -> None:
        if not self.name.strip() or self.name != self.name.strip():
            raise BadData(f"German noun {self.name!r}: empty or padded; write the bare noun")
        if self.gender not in ("m", "f", "n", "p"):
            raise BadData(f"German noun {self.name!r}: unknown gender {self.gender!r}; use m, f, n or p")


@dataclass(frozen=True)
class Chinese:
    """A Chinese noun: `measure` is the word between a number and it, empty where nothing is counted."""

    name: str
    measure: str = ""
    proper: bool = False  # the name of a country


def the(case: Case) -> Callable[[German], str]:
    return lambda noun: f"{DEFINITE[case][noun.gender]} " if noun.article else ""


def a(case: Case) -> Callable[[German], str]:
    def before(noun: German) -> str:
        return "" if noun.mass or not noun.article or noun.gender == "p" else f"{INDEFINITE[case][noun.gender]} "

    return before


def contracted(preposition: str, short: str) -> Callable[[German], str]:
    """A preposition with the dative: "von dem" is `short` ("vom"), without an article it stands alone."""

    def before(noun: German) -> str:
        article = the("dative")(noun).strip()
        return f"{short} " if article == "dem" else f"{preposition} {article} " if article else f"{preposition} "

    return before


def towards(noun: German) -> str:
    """Going to a country: "nach Frankreich", "in die Türkei", "in den Iran", "in die USA"."""
    return f"in {the('accusative')(noun)}" if noun.article else "nach "


GERMAN: Mapping[str, Callable[[German], str]] = {
    "der": the("nominative"),
    "den": the("accusative"),
    "dem": the("dative"),
    "ein": a("nominative"),
    "einen": a("accusative"),
    "einem": a("dative"),
    "von": contracted("von", "vom"),
    "zu": lambda noun: "zur " if noun.article and noun.gender == "f" else contracted("zu", "zum")(noun),
    "in": contracted("in", "im"),
    "nach": towards,
}


def one(noun: Chinese) -> str:
    """A number and the measure word, "some" of what is not counted; names stand alone."""
    return f"一{noun.measure}" if noun.measure else "" if noun.proper else "一些"


CHINESE: Mapping[str, Callable[[Chinese], str]] = {"one": one}
