"""Sentences with a slot, and the little marker language in which they are written.

A template ends right before the answer. It holds one slot `{}` for the bare subject and markers that become the
right article for that subject: English `{the}` ("the " before a count noun or an article-bearing country, nothing
before "cheese" or "France") and `{a}`; French `{le} {de} {au} {en} {un}`, `{named}` ("un chien" but "l'eau"), `{d}`
("de"/"d'"), `{e}` (agreement), `{il}` ("il"/"elle"). A capital, as in `{En}`, opens a sentence. Square brackets name
what falls away (or, after a bar, what it becomes) in the subject-free prior:
"The capital [of {the}{}] is the city of" -> "The capital is the city of".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.world import french
from benchmarks.world.languages.nouns import CHINESE, GERMAN, Chinese, German
from editing.errors import BadData
from editing.text import SLOT

MARKER = re.compile(r"\{(\w+)\}")
BRACKET = re.compile(r"\[([^\[\]|]*)(?:\|([^\[\]|]*))?\]")


@dataclass(frozen=True)
class English:
    """An English noun as far as its article goes: `the` is written before it, `a` may be."""

    name: str
    the: bool = False
    a: bool = False

    def __post_init__(self) -> None:
        if not self.name.strip() or self.name != self.name.strip():
            raise BadData(f"English noun {self.name!r}: empty or padded; write the bare noun")


def english_the(noun: English) -> str:
    return "the " if noun.the else ""


def english_a(noun: English) -> str:
    """ "a ", "an " or nothing. Initial vowel letters sound as vowels in our vocabulary, save "eu" and "uni"."""
    if not noun.a:
        return ""
    low = noun.name.lower()
    return "an " if low[0] in "aeiou" and not low.startswith(("eu", "uni", "use")) else "a "


ENGLISH: Mapping[str, Callable[[English], str]] = {"the": english_the, "a": english_a}
FRENCH: Mapping[str, Callable[[french.Noun], str]] = {
    "le": french.le,
    "de": french.de,
    "au": french.au,
    "en": french.en,
    "un": french.un,
    "named": french.named,
    "d": french.bare_de,
    "e": french.feminine,
    "il": french.pronoun,
}


@dataclass(frozen=True)
class Bare:
    """A name in a language whose articles this project does not know: it stands as it is."""

    name: str


Noun = English | french.Noun | German | Chinese | Bare
MARKERS: Mapping[str, tuple[type, Mapping[str, Callable[[Any], str]]]] = {
    "en": (English, ENGLISH),
    "fr": (french.Noun, FRENCH),
    "de": (German, GERMAN),
    "zh": (Chinese, CHINESE),
}


@dataclass(frozen=True)
class Word:
    """One entity's names by language, with what its articles need to know in the languages of MARKERS."""

    nouns: Mapping[str, Noun]

    @property
    def en(self) -> English:
        noun = self.nouns["en"]
        assert isinstance(noun, English)
        return noun

    @property
    def fr(self) -> french.Noun:
        noun = self.nouns["fr"]
        assert isinstance(noun, french.Noun)
        return noun

    def name(self, lang: str) -> str:
        return self.nouns[lang].name


def bilingual(en: English, fr: french.Noun) -> Word:
    """A word in the two languages of the world."""
    return Word({"en": en, "fr": fr})


def expand(text: str, word: Word, lang: str) -> str:
    """`text` with every marker replaced by the article that `word` needs. The slot `{}` stays."""

    def article(match: re.Match[str]) -> str:
        marker = match.group(1)
        low = marker[0].lower() + marker[1:]
        kind, markers = MARKERS.get(lang, (Bare, {}))
        noun = word.nouns[lang]
        if low in markers and isinstance(noun, kind):
            out = markers[low](noun)
        else:
            known = ", ".join(markers) or "none in this language"
            raise BadData(f"template {text!r}: unknown marker {{{marker}}}; use one of: {known}")
        return out[:1].upper() + out[1:] if marker != low else out

    return MARKER.sub(article, text)


@dataclass(frozen=True)
class Template:
    """One way to ask for a relation. See the module's docstring for the notation.

    Raises:
        BadData: not exactly one slot, no bracketed subject phrase around it, or a padded text.
    """

    text: str
    lang: str

    def __post_init__(self) -> None:
        inside = BRACKET.findall(self.text)
        if self.text.count(SLOT) != 1 or len(inside) != 1 or SLOT not in inside[0][0]:
            raise BadData(f"template {self.text!r}: write one [subject phrase with {{}}], for example [of {{the}}{{}}]")
        if self.text != self.text.strip():
            raise BadData(f"template {self.text!r}: padded; end right after the last word")

    def prompt(self, word: Word) -> str:
        """The text with `word`'s articles, still holding the slot."""
        return expand(BRACKET.sub(r"\1", self.text), word, self.lang)

    def prior(self) -> str:
        """The text without its subject: p0 of score(t|p) = log P(t|p) - log P(t|p0)."""
        text = BRACKET.sub(lambda match: match.group(2) or "", self.text).replace("{e}", "").replace("{il}", "il")
        text = re.sub(r"\s+", " ", text).replace(" ,", ",").strip()
        return text[:1].upper() + text[1:]
