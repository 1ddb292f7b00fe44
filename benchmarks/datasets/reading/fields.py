"""Single fields of a record: texts, answers with their aliases, subject slots, whichever way they are written.

Wild files write an answer as `"Rome"`, `{"str": "Rome", "id": "Q220"}`, `["Rome", "Roma"]` or `[["Rome", "Roma"]]`, and
a year as `1998`; a subject as `{}`, `[X]` or itself. A field that is missing, null, NaN or empty is not there; anything
else that cannot be read raises `BadData` with place, key and fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from benchmarks.datasets.reading.records import LANGUAGE, Place, Record, type_name
from benchmarks.datasets.reading.values import Fields, is_missing
from editing.text import SLOT

PROMPT, ANSWER = 10_000, 500  # characters
VALUES = ("str", "value", "label", "name", "text", "answer", "ground_truth")
SLOTS = re.compile(r"\{\}|\{subject\}|\{0\}|\[X\]|\[subject\]|<subject>", re.IGNORECASE)


def look(record: Record, *keys: str) -> tuple[str, Any]:
    """The first of `keys` that is there, with its value; the first key and None when none is."""
    for key in keys:
        if key in record and not is_missing(record[key]):
            if isinstance(record, Fields):
                record.of.read.add(key)
            return key, record[key]
    return keys[0], None


def items_of(record: Record) -> Iterator[tuple[str, Any]]:
    """Every key of an object whose keys are names, such as groups of questions, with its value."""
    return ((key, look(record, key)[1]) for key in record)


def text(place: Place, value: Any, key: str, limit: int = PROMPT) -> str:
    """`value` as a stripped text.

    Raises:
        BadData: no text, empty, longer than `limit`, control characters or half a character in it.
    """
    if not isinstance(value, str):
        kind = "missing" if value is None else f"{type_name(value)}, not text"
        place.refuse(f"{key!r} is {kind}", "write it out" if value is None else 'write it in "quotes"')
    value = value.strip()
    if not value:
        place.refuse(f"{key!r} is empty", "write it out")
    if len(value) > limit:
        place.refuse(f"{key!r} has {len(value):,} characters", f"keep it within {limit:,}")
    if not value.isprintable() and any(ord(char) < 32 and char not in "\n\r\t" for char in value):
        place.refuse(f"{key!r} holds a control character", "remove it")
    try:
        value.encode()
    except UnicodeEncodeError:
        place.refuse(f"{key!r} holds half of a surrogate pair", "write the character as UTF-8")
    return str(value)


def text_at(place: Place, record: Record, *keys: str, under: str = "", limit: int = PROMPT) -> str:
    """The text of the first of `keys` that is there. `under` precedes the key in messages."""
    key, value = look(record, *keys)
    return text(place, value, under + key, limit)


def optional_text(place: Place, record: Record, *keys: str, limit: int = PROMPT) -> str:
    """As `text_at`; empty when none of `keys` is there."""
    return "" if look(record, *keys)[1] is None else text_at(place, record, *keys, limit=limit)


def answers_at(place: Place, record: Record, *keys: str, under: str = "") -> tuple[str, ...]:
    """The answer and its aliases of the first of `keys` that is there; empty when none is."""
    key, value = look(record, *keys)
    return answers(place, value, under + key)


def texts_at(place: Place, record: Record, *keys: str) -> list[str]:
    """The texts of the first of `keys` that is there; empty when none is."""
    key, value = look(record, *keys)
    return texts(place, value, key)


def answers(place: Place, value: Any, key: str) -> tuple[str, ...]:
    """The answer and its aliases, in the order written, different but for case; empty when the field is not there."""
    if type(value) is str and not is_missing(value):  # the usual case, without the walk below
        return (text(place, value, key, ANSWER),)
    by_fold: dict[str, str] = {}
    for said in _answers(place, value, key, 0):
        by_fold.setdefault(fold(said), said)
    return tuple(by_fold.values())


def _answers(place: Place, value: Any, key: str, depth: int) -> Iterator[str]:
    if is_missing(value):
        return
    if depth > 3:
        place.refuse(f"{key!r} is nested too deeply", "write a text or a list of texts")
    if isinstance(value, list):
        for i, item in enumerate(value, 1):
            yield from _answers(place, item, f"{key}[{i}]", depth + 1)
    elif isinstance(value, dict):
        name, said = look(value, *VALUES)
        if said is None:
            place.refuse(f"{key!r} has no text", f"give it one of the keys {', '.join(VALUES)}")
        yield from _answers(place, said, f"{key}.{name}", depth + 1)
        yield from _answers(place, look(value, "aliases", "alias")[1], f"{key}.aliases", depth + 1)
    else:
        yield text(place, value, key, ANSWER)


def texts(place: Place, value: Any, key: str) -> list[str]:
    """One text, a list of them, or none; missing items of a list are passed over."""
    if not isinstance(value, list):
        return [] if value is None else [text(place, value, key)]
    return [text(place, item, f"{key}[{i}]") for i, item in enumerate(value, 1) if not is_missing(item)]


def mapping(place: Place, value: Any, key: str) -> dict[str, Any]:
    """`value` as an object; an empty one when it is not there."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        place.refuse(f"{key!r} is {type_name(value)}, not an object", "write it as {...}")
    return value


def objects(place: Place, value: Any, key: str) -> list[dict[str, Any]]:
    """`value` as a list of objects; a single object is a list of one."""
    items = value if isinstance(value, list) else [value]
    return [mapping(place, item, f"{key}[{i}]") for i, item in enumerate(items, 1) if not is_missing(item)]


def slotted(place: Place, prompt: str, subject: str, key: str) -> tuple[str, str]:
    """`prompt` with `{}` for the subject, and the subject as the prompt spells it.

    The last mention is taken, the one right before the answer; case is ignored where the exact spelling is absent.

    Raises:
        BadData: no slot and no subject in it, or several slots.
    """
    slots = SLOTS.findall(prompt)
    if len(slots) > 1:
        place.refuse(f"{key!r} has {len(slots)} slots {{}}", "keep one")
    if slots:
        return SLOTS.sub(SLOT, prompt), subject
    at = prompt.rfind(subject)
    if at < 0:
        lowered = prompt.lower()  # lower() may change the length of a text ("İ"); then only the exact spelling counts
        at = lowered.rfind(subject.lower()) if len(lowered) == len(prompt) else -1
    if at < 0:
        place.refuse(f"subject {subject!r:.80} is absent from {key!r} {prompt!r:.120}", "write the subject or {} in it")
    end = at + len(subject)
    return f"{prompt[:at]}{SLOT}{prompt[end:]}", prompt[at:end]


def filled(prompt: str, subject: str) -> str:
    """`prompt` with the subject in its slot, if it has one."""
    return SLOTS.sub(lambda _: subject, prompt)


def mentions(prompt: str, subject: str) -> bool:
    """Whether the words of `subject` stand in `prompt`, in whichever case."""
    return bool(subject) and re.search(rf"(?<!\w){re.escape(fold(subject))}(?!\w)", fold(prompt)) is not None


def sub_objects(record: Record) -> dict[str, Record]:
    """The objects in a record that are named by a language's code."""
    return {key: look(record, key)[1] for key in record if LANGUAGE.fullmatch(key) and isinstance(record[key], dict)}


@lru_cache(1 << 16)  # answers recur: every question of a relation draws from the same ones
def fold(said: str) -> str:
    """What two answers share that differ in case and blanks only."""
    return " ".join(said.casefold().split())


def prior(prompt: str, lang: str) -> str:
    """The prompt about nothing in particular. Only English lets a pronoun stand in any slot; others go uncorrected."""
    if lang != "en" or SLOT not in prompt:
        return ""
    head, _, tail = prompt.partition(SLOT)
    starts = not head.strip() or head.rstrip()[-1] in ".?!:"
    bare = f"{head}{'It' if starts else 'it'}{tail}"
    return bare[:1].upper() + bare[1:]
