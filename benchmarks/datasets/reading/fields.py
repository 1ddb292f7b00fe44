"""Single fields of a record: texts, answers with their aliases, subject slots, whichever way they are written.

Wild files write an answer as `"Rome"`, `{"str": "Rome", "id": "Q220"}`, `["Rome", "Roma"]` or `[["Rome", "Roma"]]`, and
a year as `1998`; a subject as `{}`, `[X]` or itself. A field that is missing, null, NaN or empty is not there; anything
else that cannot be read raises `BadData` with place, key and fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.datasets.reading.names import fold, mentions
from benchmarks.datasets.reading.records import Place, Record, language_key, type_name
from benchmarks.datasets.reading.values import MISSING, Fields, Listed, Row, is_missing
from editing.errors import BadRequest
from editing.text import SLOT, escaped, language_code, parts

PROMPT, ANSWER = 10_000, 500  # characters
VALUES = ("str", "value", "label", "name", "text", "answer", "ground_truth")
# A slot stands alone: the braces of `interface{}` and the index of `a[X]` are code.
LANGUAGES = ("lang", "language", "lang_code", "language_code", "locale")
SLOTS = re.compile(r"(?<![A-Za-z0-9_)\]}{$#%])(?:\{\}|\{subject\}|\{0\}|\[X\]|\[subject\]|<subject>)(?![{}])")
BETWEEN = " | "
INVISIBLE = "\ufeff\u200b\u2060"  # at the ends of a text: what copies from web pages and files bring along
OF_ANSWER = "object|obj|target|target_new|answer|mask|blank"
BLANK = re.compile(
    rf"\[(?:Y|{OF_ANSWER})\]|<(?:extra_id_0|{OF_ANSWER})>|\{{(?:1|{OF_ANSWER})\}}|_{{3,}}", re.IGNORECASE
)
WIKIDATA = re.compile(r"Q[1-9][0-9]+")
ID_IN_TEXT = re.compile(r"\bQ[1-9][0-9]{3,}\b")


def look(record: Record, *keys: str) -> tuple[str, Any]:
    """The first of `keys` that is there, with its value; the first key and None when none is."""
    for key in keys:
        value = record.get(key)
        if value is not None and not is_missing(value):
            if isinstance(record, Fields):
                record.of.read.add(key)
            return key, value
    if isinstance(record, Fields):
        record.of.absent.update(keys)
    return keys[0], None


def items_of(record: Record) -> Iterator[tuple[str, Any]]:
    """Every key of an object whose keys are names, such as groups of questions, with its value."""
    return ((key, look(record, key)[1]) for key in record)


def text(place: Place, value: Any, key: str, limit: int = PROMPT) -> str:
    """`value` as a text without blanks around it. Other white space at its end stays: a prompt may end in a line break.

    Raises:
        BadData: no text, a list in a table's cell, empty, longer than `limit`, control characters or half a character.
    """
    if plain := _plain(value, limit):
        return plain
    if not isinstance(value, str):
        kind = "missing" if value is None else f"{type_name(value)}, not text"
        place.refuse(f"{key!r} is {kind}", "write it out" if value is None else 'write it in "quotes"')
    if isinstance(value, Listed):
        place.refuse(f"{key!r} is {type_name(value)}", "save the table as JSON, or write the text itself")
    value = value.strip(INVISIBLE).lstrip().rstrip(" ")
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


def _plain(value: Any, limit: int) -> str:
    """`value` as `text` gives it, where it is the usual one: short, printable, no missing value; else empty."""
    usual = type(value) is str and value.isprintable() and value not in MISSING
    return bare if usual and len(bare := value.strip()) <= limit else ""


def text_at(place: Place, record: Record, *keys: str, under: str = "", limit: int = PROMPT) -> str:
    """The text of the first of `keys` that is there. `under` precedes the key in messages."""
    key, value = look(record, *keys)
    return text(place, value, under + key, limit)


def optional_text(place: Place, record: Record, *keys: str, limit: int = PROMPT) -> str:
    """As `text_at`; empty when none of `keys` is there."""
    return "" if look(record, *keys)[1] is None else text_at(place, record, *keys, limit=limit).strip()


def answers_at(place: Place, record: Record, *keys: str, under: str = "") -> tuple[str, ...]:
    """The answer and its aliases of the first of `keys` that is there; empty when none is."""
    key, value = look(record, *keys)
    return answers(place, value, under + key)


def texts_at(place: Place, record: Record, *keys: str) -> list[str]:
    """The texts of the first of `keys` that is there; empty when none is. In a table's cell ` | ` is between."""
    key, value = look(record, *keys)
    several = type(value) is str and isinstance(record, Row) and BETWEEN in value
    return texts(place, value.split(BETWEEN) if several else value, key)


def answers(place: Place, value: Any, key: str) -> tuple[str, ...]:
    """The answer and its aliases, in the order written, different but for case; empty when the field is not there.

    An id of Wikidata is no answer: no model knows it by that name.
    """
    if type(value) is str and not is_missing(value):  # the usual case, without the walk below
        said = text(place, value, key, ANSWER).strip()
        return () if is_id(said) else (said,)
    by_fold: dict[str, str] = {}
    for said in _answers(place, value, key, 0):
        if not is_id(said):
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
        yield text(place, value, key, ANSWER).strip()


def texts(place: Place, value: Any, key: str) -> list[str]:
    """One text, a list of them, or none; missing items of a list are passed over."""
    if not isinstance(value, list):
        return [] if value is None else [text(place, value, key)]
    said = []
    for i, item in enumerate(value, 1):
        if plain := _plain(item, PROMPT):
            said.append(plain)
        elif not is_missing(item):
            said.append(text(place, item, f"{key}[{i}]"))
    return said


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


def slotted(place: Place, prompt: str, subject: str, key: str, literal: bool = False) -> tuple[str, str]:
    """`prompt` as a template with its slot at the subject, and the subject as the prompt spells it: see `located`.

    Raises:
        BadData: no slot and no subject in it, or several slots.
    """
    template = located(prompt, subject, literal)
    if template is None:
        slots = len(_slots(prompt))
        if slots > 1:
            place.refuse(f"{key!r} has {slots} slots {{}}", "keep one")
        place.refuse(f"subject {subject!r:.80} is absent from {key!r} {prompt!r:.120}", "write the subject or {} in it")
    return template


def check_slots(place: Place, key: str, prompts: Iterable[str]) -> None:
    """Raises `BadData` where one of the further prompts has several slots, none of which could be filled."""
    for prompt in prompts:
        if (slots := len(_slots(prompt))) > 1:
            fix = "keep one; several prompts of a cell have ' | ' between them"
            place.refuse(f"{key!r} has {slots} slots {{}}", fix)


def check_open(place: Place, key: str, template: str, *answers: str) -> None:
    """Raises `BadData` unless a prompt stops where its answer begins: a model continues it, and fills no blank."""
    fix = "write the text up to the answer"
    if blank := BLANK.search(template):
        place.refuse(f"{key!r} has a blank {blank[0]!r:.40}", fix)
    said = template.rstrip(" .")
    for answer in filter(None, answers):
        if said.endswith(answer) and mentions(said, answer)[-1:] == [(len(said) - len(answer), len(said))]:
            place.refuse(f"{key!r} ends with the answer {answer!r:.80}", fix)


def located(prompt: str, subject: str, literal: bool = True) -> tuple[str, str] | None:
    """`prompt` as a template (editing/text/slots.py) and the subject as it spells it; None where it does not name it.

    A declared slot is the subject's place; in a `literal` text, which may hold code, only where the subject is not
    named. Else it is the subject's last mention, the one right before the answer.
    """
    slots, spans = _slots(prompt), mentions(prompt, subject)
    if len(slots) == 1 and not (literal and spans):
        (begin, end), spelled = slots[0], subject.strip()
    elif spans:
        begin, end = spans[-1]
        spelled = prompt[begin:end]
    else:
        return None
    return f"{escaped(prompt[:begin])}{SLOT}{escaped(prompt[end:])}", spelled


def _slots(prompt: str) -> list[tuple[int, int]]:
    if not ("{" in prompt or "[" in prompt or "<" in prompt):  # the usual case
        return []
    return [slot.span() for slot in SLOTS.finditer(prompt)]


def filled(prompt: str, subject: str) -> str:
    """A literal text that does not name the subject, with the subject in its slot; any other text as it is."""
    slots = _slots(prompt)
    if len(slots) != 1 or mentions(prompt, subject):
        return prompt
    begin, end = slots[0]
    return prompt[:begin] + subject.strip() + prompt[end:]


def sub_objects(record: Record) -> dict[str, Record]:
    """The objects in a record that are named by a language, by its ISO 639 code."""
    parts = {key: look(record, key)[1] for key in record if isinstance(record[key], dict) and language_key(key)}
    return {language_key(key): part for key, part in parts.items()}


def named_language(place: Place, record: Record) -> str:
    """The ISO 639 code of the language that the record names in any form; empty where it names none.

    Raises:
        BadData: no language is called so.
    """
    key, value = look(record, *LANGUAGES)
    if value is None:
        return ""
    try:
        return language_code(text(place, value, key, 100))
    except BadRequest as error:
        place.refuse(*str(error).split("; ", 1))


def repeated(kind: str, prompt: str, edited: str) -> str:
    """Why a question whose prompt is the `edited` one is not evaluated: as a paraphrase it would count the edit itself
    as generalisation, as a neighbour it contradicts the edit. Empty for every other question."""
    return "whose prompt is that of the edit" if kind in ("paraphrase", "neighbour") and prompt == edited else ""


def nameless(prompt: str) -> str:
    """Why a question with an id of Wikidata in its text is not evaluated. Empty for every other question."""
    there = "Q" in prompt and ID_IN_TEXT.search(prompt)
    return "that hold an id of Wikidata in place of a name" if there else ""


def is_id(said: str) -> bool:
    """Whether a text is an id of Wikidata, which stands where a name has no label."""
    return WIKIDATA.fullmatch(said) is not None


def prior(prompt: str, lang: str) -> str:
    """The prompt about nothing in particular. Only English lets a pronoun stand in any slot; others go uncorrected."""
    around = parts(prompt) if lang == "en" else None
    if around is None:
        return ""
    head, tail = around
    starts = not head.strip() or head.rstrip()[-1] in ".?!:"
    bare = f"{head}{'It' if starts else 'it'}{tail}"
    return bare[:1].upper() + bare[1:]
