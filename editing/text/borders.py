"""Whether a blank belongs between a prompt and its answer: a property of both texts and of their scripts.

Prompt and answer are one text. Most scripts put a blank between words; Chinese, Japanese, Thai, Lao, Khmer, Burmese,
Tibetan and their like do not. No script puts one behind an opening quote or bracket, an elision ("l'"), a hyphen, a
slash or a currency sign that comes before its number, nor where the prompt already ends in white space.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import regex

# Scripts that are written without blanks between words (Unicode Standard Annex 14, classes ID and SA).
UNSPACED = (
    *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Nushu", "Tangut"),
    *("Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Javanese", "Balinese", "Tai_Le", "New_Tai_Lue", "Tai_Tham"),
    "Tai_Viet",
)
_UNSPACED = regex.compile("[" + "".join(rf"\p{{Script={script}}}" for script in UNSPACED) + "]")
_SCRIPTED = regex.compile(r"[^\p{Script=Common}\p{Script=Inherited}]")
# What ends a sentence where it is no full stop; Thai and Lao have no such mark, a blank follows their sentences.
_FULL_STOPS = (
    (regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}]"), "。"),
    (regex.compile(r"[\p{Thai}\p{Lao}]"), " "),
    (regex.compile(r"\p{Khmer}"), "។"),
    (regex.compile(r"\p{Myanmar}"), "။"),
    (regex.compile(r"\p{Tibetan}"), "།"),
    (regex.compile(r"\p{Devanagari}"), "।"),
)
# Thai, Lao and their neighbours ask by words alone.
_QUESTION_MARKS = (
    (regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}]"), "？"),
    (regex.compile(r"[\p{Arabic}]"), "؟"),
    (regex.compile(r"[\p{Greek}]"), ";"),
    (regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"), ""),
)
_HANGUL = regex.compile(r"\p{Script=Hangul}")

# Korean particles and copulas are written onto the word before them.
PARTICLES = (
    *("은", "는", "이", "가", "을", "를", "의", "에", "에서", "에게", "에는", "에서는", "로", "으로", "와", "과", "도"),
    *("만", "까지", "부터", "처럼", "보다", "이다", "입니다", "이며", "이고", "라는", "이라는", "이나", "이란", "란"),
)
# The Arabic article, alone or behind a one-letter preposition, is written onto the word behind it.
_ARABIC_ARTICLE = regex.compile(r"(?:^|\s)[وفبك]?(?:ال|لل)$")

MARKS = "\u200e\u200f\u061c\u2066\u2067\u2068\u2069"  # of the direction of writing; they are not seen
ATTACHED = "_\\/@¿¡\u200b\u200c\u200d\u2060"  # what follows these is written onto them
APOSTROPHES = "'\u2019\u02bc\uff07"
# Closing quote -> the openings that it may close. Languages use the same signs the other way round.
CLOSES = {"”": "“„”", "“": "„", "’": "‘‚", "‘": "‚", "»": "«", "«": "»", "›": "‹", "‹": "›"}
_INITIAL_APOSTROPHE = regex.compile(r"(?:^|[\s(\[{])'(?=\w)")
_SUFFIX = regex.compile(r"['\u2019](?:s|t|re|ve|ll|d|m)\b(?!-)|[,.;:!?%…)\]}»”](?!\w)", regex.IGNORECASE)


def join(prompt: str, answer: str) -> str:
    """`prompt` and `answer` as one text, with a blank between them where one belongs."""
    return prompt + border(prompt, answer) + answer


def sentence(text: str) -> str:
    """`text` with a full stop of its script, unless it ends in one already."""
    if text.endswith((".", "!", "?", "。", "！", "？", "؟", "।", "۔", "።")):
        return text
    letters = _SCRIPTED.findall(text)
    return text + next((stop for script, stop in _FULL_STOPS if letters and script.match(letters[-1])), ".")


def question(text: str) -> str:
    """`text` with a question mark of its script, unless it ends in one already."""
    bare = text.rstrip()
    if bare.endswith(("?", "？", "؟", ";", "\u037e", "՞", "፧", ".", "!", "。", "！", ":", "：")):
        return text
    letters = _SCRIPTED.findall(bare)
    return bare + next((mark for script, mark in _QUESTION_MARKS if letters and script.match(letters[-1])), "?")


@lru_cache(maxsize=65536)
def border(prompt: str, answer: str) -> str:
    """What stands between the two: a blank, or nothing."""
    bare = prompt.rstrip(MARKS)
    if not bare or not answer or bare[-1].isspace() or answer[0].isspace():
        return ""
    if attaches(bare) or unicodedata.category(answer[0]).startswith("M") or _SUFFIX.match(answer):
        return ""
    if _without_blanks(bare, answer) or _is_particle(bare, answer):
        return ""
    return " "


def attaches(prompt: str) -> bool:
    """Whether what follows `prompt` is written onto its last character, in every script."""
    last, before = prompt[-1], prompt[-2:-1]
    spaced = not before or before.isspace()
    category = unicodedata.category(last)
    if last in APOSTROPHES:
        return not _closes_apostrophe(prompt)
    if last in '"`':  # straight quotes open and close by turns
        return prompt.count(last) % 2 == 1
    if last in CLOSES:
        return _opens(prompt)
    if category in ("Ps", "Pi") or last in ATTACHED:
        return True
    if category == "Pd":  # a dash between blanks stands between words, a hyphen within one
        return not spaced or last in "-\u2010\u2011"
    if category == "Sc":  # "$" before its number; "5 €" is followed by another word
        return not prompt[:-1].rstrip()[-1:].isdigit()
    if last == "#":  # "#5" is a number, "C#" a name
        return spaced
    if last == "+":  # of a sum, not of a name such as "C++"
        return before.isdigit()
    if last in "=<&~^|*\u2212":
        return not spaced or last in "*\u2212"
    return bool(_ARABIC_ARTICLE.search(prompt))


def unspaced(text: str) -> bool:
    """Whether a script without blanks between words is in `text`."""
    return _UNSPACED.search(text) is not None


def _closes_apostrophe(prompt: str) -> bool:
    """Whether the last character ends a quotation, instead of an elision or a genitive."""
    if prompt[-1] == "\u2019":
        return any(prompt.count(opening) > prompt[:-1].count("\u2019") for opening in "‘‚")
    return prompt[-1] == "'" and prompt[-2:-1] != "" and bool(_INITIAL_APOSTROPHE.search(prompt[:-1]))


def _opens(prompt: str) -> bool:
    """Whether the last character, one of a pair that languages use both ways round, opens a quotation.

    It closes where one of its partners is open; else it opens behind a blank, and closes behind a word.
    """
    last, rest = prompt[-1], prompt[:-1]
    unclosed = sum(rest.count(sign) for sign in CLOSES[last]) - rest.count(last)
    if unclosed > 0 and last not in CLOSES[last]:
        return False
    if last in CLOSES[last] and rest.count("“") + rest.count("„") + rest.count(last):
        return False  # ”so” in Swedish and Finnish: the second one closes
    if not rest or rest[-1].isspace() or unicodedata.category(rest[-1]) in ("Ps", "Pi", "Pd"):
        return True
    return unspaced(rest[-1]) or _wide(rest)  # no blank stands before a quotation there


def _wide(text: str) -> bool:
    """Whether `text` ends in punctuation of full width, such as "。" and "："."""
    return unicodedata.category(text[-1]).startswith("P") and unicodedata.east_asian_width(text[-1]) in "FW"


def _without_blanks(prompt: str, answer: str) -> bool:
    """Whether the scripts on both sides are written without a blank between them.

    An answer in another script follows the prompt's: "首都是" + "Paris" has no blank, "It is called" + "北京" has one.
    """
    if _wide(prompt):
        return True
    letters = _SCRIPTED.findall(prompt)
    if letters and _UNSPACED.match(letters[-1]):
        return True
    first = _SCRIPTED.search(answer)
    return bool(first and _UNSPACED.match(first[0]) and (not letters or unspaced(prompt)))


def _is_particle(prompt: str, answer: str) -> bool:
    return _HANGUL.match(prompt[-1]) is not None and answer.split()[0].rstrip(".,!?") in PARTICLES
