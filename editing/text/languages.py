"""Languages by code and by name, in the forms that files use, and what a subject essentially is in each.

Codes and names are those of CLDR (through babel): "fr", "fra", "fre", "fr-CA", "French", "français" are one language.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

from editing.errors import BadRequest

# "{subject} is a", the prompt whose continuation an edit must not change (ROME, section 3.1), in each language.
ESSENCE = {
    "en": "{} is a",
    "fr": "{} est un",
    "de": "{} ist ein",
    "es": "{} es un",
    "it": "{} è un",
    "pt": "{} é um",
    "nl": "{} is een",
    "sv": "{} är en",
    "pl": "{} to",
    "cs": "{} je",
    "ru": "{} — это",
    "uk": "{} — це",
    "el": "{} είναι ένα",
    "tr": "{} bir",
    "ar": "{} هو",
    "he": "{} הוא",
    "hi": "{} एक",
    "zh": "{}是",
    "ja": "{}は",
    "ko": "{}:",
    "th": "{}คือ",
    "vi": "{} là một",
}
# In any other language: what an encyclopedia puts in brackets behind a name, its kind or its dates.
NEUTRAL_ESSENCE = "{} ("

# Codes of countries that public data sets use for a language (MzsRE: cz, du).
_COUNTRIES = {"cz": "cs", "du": "nl", "jp": "ja", "cn": "zh", "gr": "el", "dk": "da", "ua": "uk"}
# Language of a text whose record names none, by its script; Latin and unknown scripts are read as English.
_OF_SCRIPT = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "THAI": "th",
    "LAO": "lo",
    "KHMER": "km",
    "MYANMAR": "my",
    "TIBETAN": "bo",
    "ARABIC": "ar",
    "HEBREW": "he",
    "CYRILLIC": "ru",
    "GREEK": "el",
    "DEVANAGARI": "hi",
    "BENGALI": "bn",
    "TAMIL": "ta",
    "TELUGU": "te",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
    "ETHIOPIC": "am",
}


def essence_of(lang: str) -> str:
    """The template "{} is a" of a language."""
    return ESSENCE.get(lang, NEUTRAL_ESSENCE)


@lru_cache(maxsize=4096)
def language_code(language: str) -> str:
    """The ISO 639 code (two letters where there are such) of a language given by code or name, region and script aside.

    Raises:
        BadRequest: no language is called so; the message lists the codes.
    """
    code = find_language(language)
    if code is None:
        raise BadRequest(
            f"unknown language {language!r:.60}; use a name such as French or français, or one of the codes "
            + ", ".join(code for code in sorted(_english_names()) if len(code) == 2)
        )
    return code


@lru_cache(maxsize=4096)
def find_language(language: str) -> str | None:
    """As `language_code`; None where no language is called so."""
    if language in ESSENCE:
        return language
    name = _folded(language)
    code = re.split(r"[-_@. ]", name)[0]
    plain = name == code or re.fullmatch(r"[a-z]{2,3}([-_][a-z0-9]{2,8})+([.@].*)?", name)
    if plain and (known := _by_code(code)):
        return known
    # No name has an underscore, but keys of records do: their like is not looked up in every language.
    return _codes_by_name().get(name) or (None if "_" in name else _codes_by_own_name().get(name))


def language_of_text(text: str) -> str:
    """The language that the script of most letters suggests: "zh" for Han characters, "en" for Latin letters."""
    if text.isascii():
        return "en"
    counts: dict[str, int] = {}
    for char in text:
        if char.isalpha():
            script = unicodedata.name(char, "").split(" ")[0].split("-")[0]
            counts[script] = counts.get(script, 0) + 1
    if counts.keys() & {"HIRAGANA", "KATAKANA"}:  # beside Han characters, which Japanese uses as well
        return "ja"
    return _OF_SCRIPT.get(max(counts, key=lambda script: counts[script]), "en") if counts else "en"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _by_code(code: str) -> str | None:
    from babel.core import get_global

    if code in _COUNTRIES:
        return _COUNTRIES[code]
    alias = str(get_global("language_aliases").get(code, code)).split("_")[0]
    return alias if alias in _english_names() else None


@cache
def _english_names() -> dict[str, str]:
    """Code -> English name of every language, without regions and scripts."""
    from babel import Locale

    return {code: name for code, name in Locale("en").languages.items() if code.isalpha()}


@cache
def _codes_by_name() -> dict[str, str]:
    """Folded English name -> code; of two languages with one name the one with the shorter code."""
    names = sorted(_english_names().items(), key=lambda pair: (-len(pair[0]), pair[0]))
    return {_folded(name): code for code, name in names}


@cache
def _codes_by_own_name() -> dict[str, str]:
    """Folded name in the language itself -> code. Read only for names that are not English: it takes seconds."""
    from babel import Locale, UnknownLocaleError

    codes: dict[str, str] = {}
    for code in sorted(_english_names(), key=lambda code: (-len(code), code)):
        try:
            own = Locale(code).languages.get(code)
        except UnknownLocaleError:
            continue
        if own:
            codes[_folded(own)] = code
    return codes
