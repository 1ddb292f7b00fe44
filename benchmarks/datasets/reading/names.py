"""Names in texts: compared in one Unicode form, found as whole words of their script.

"US" is not in "USSR"; "云港" is in "云港志", whose script has no blanks; "Italie" is in "l'Italie", "프랑스" in
"프랑스의", "فرنسا" in "بفرنسا". A name is shown as its file writes it.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import regex

from editing.text import unspaced

_AFFIXES = {
    # script -> (what may be written onto a word in front of it, and behind it)
    "Hangul": (
        "",
        r"(?:은|는|이|가|을|를|의|에|서|게|로|으로|와|과|도|만|까지|부터|처럼|보다|다|입니다|며|고|라는|이라는|나|란|인|들|의)+",
    ),
    "Arabic": (r"[وف]?(?:[بكل]?ال|لل|[بكل])|[وف]", ""),
    "Hebrew": (r"[והבכלמש]{1,3}", ""),
}
_BEFORE = {s: regex.compile(rf"(?:^|[^\w])(?:{left})$") for s, (left, _) in _AFFIXES.items() if left}
_BEHIND = {s: regex.compile(rf"(?:{right})(?!\w)") for s, (_, right) in _AFFIXES.items() if right}
_WORD = regex.compile(r"\w")
_SCRIPTS = {script: regex.compile(rf"\p{{Script={script}}}") for script in _AFFIXES}
Span = tuple[int, int]


@lru_cache(1 << 16)  # answers recur: every question of a relation draws from the same ones
def fold(said: str) -> str:
    """What two answers share that differ in case, blanks and Unicode form only."""
    if said.isascii():
        return " ".join(said.lower().split())
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", said).casefold()).split())


class Spellings:
    """The first spelling of every text, so that one name in two cases or Unicode forms is one candidate."""

    def __init__(self) -> None:
        self._by_fold: dict[str, str] = {}

    def first(self, text: str) -> str:
        """`text` as it was given first, in whichever case, blanks and Unicode form."""
        return self._by_fold.setdefault(fold(text), text)


def mentions(text: str, name: str) -> list[Span]:
    """Where the words of `name` stand in `text`, from the first to the last: as spelled; else in whichever case.

    Spans are of `text` as given, whatever the Unicode forms of the two.
    """
    name = name.strip()
    if not name:
        return []
    spans = _as_spelled(text, name)
    if text.isascii() and name.isascii():
        return spans or _as_spelled(text.lower(), name.lower())
    return spans or _by_clusters(text, name, False) or _by_clusters(text, name, True)


def _as_spelled(text: str, name: str) -> list[Span]:
    spans, at = [], text.find(name)
    while at >= 0:
        if _whole(text, at, at + len(name)):
            spans.append((at, at + len(name)))
            at = text.find(name, at + len(name))
        else:
            at = text.find(name, at + 1)
    return spans


def _by_clusters(text: str, name: str, any_case: bool) -> list[Span]:
    """Mentions in another Unicode form or case, compared character by character as readers see them."""
    clusters, starts = _clusters(text, any_case)
    sought, _ = _clusters(name, any_case)
    if len(sought) > len(clusters):
        return []
    spans, i = [], 0
    while i + len(sought) <= len(clusters):
        span = starts[i], starts[i + len(sought)]
        if clusters[i] == sought[0] and clusters[i : i + len(sought)] == sought and _whole(text, *span):
            spans.append(span)
            i += len(sought)
        else:
            i += 1
    return spans


def _clusters(text: str, any_case: bool) -> tuple[list[str], list[int]]:
    """The characters with their marks, in one form, and where each begins; one start more than there are characters."""
    if text.isascii():
        return list(text.lower() if any_case else text), list(range(len(text) + 1))
    signs = regex.findall(r"\X", text)
    starts = [0]
    for sign in signs:
        starts.append(starts[-1] + len(sign))
    formed = (unicodedata.normalize("NFC", sign) for sign in signs)
    return [unicodedata.normalize("NFC", sign.casefold()) if any_case else sign for sign in formed], starts


def _whole(text: str, begin: int, end: int) -> bool:
    """Whether the span begins and ends where a word does, the affixes of its script aside."""
    if end < len(text) and unicodedata.category(text[end]).startswith("M"):
        return False  # the last letter has a mark more
    return _begins(text, begin) and _ends(text, end)


def _begins(text: str, at: int) -> bool:
    if not _within_word(text, at):
        return True
    return any(
        _SCRIPTS[script].match(text[at]) and pattern.search(text, max(0, at - 6), at)
        for script, pattern in _BEFORE.items()
    )


def _ends(text: str, at: int) -> bool:
    if not _within_word(text, at):
        return True
    return any(
        _SCRIPTS[script].match(text[at]) and (pattern.match(text, at) or not _SCRIPTS[script].match(text[at - 1]))
        for script, pattern in _BEHIND.items()
    )


def _within_word(text: str, at: int) -> bool:
    """Whether the characters before and behind `at` belong to one word."""
    if at == 0 or at == len(text):
        return False
    before, behind = text[at - 1], text[at]
    if not (_WORD.match(before) and _WORD.match(behind)):
        return False
    return not (unspaced(before) or unspaced(behind))
