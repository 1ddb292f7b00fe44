"""A user's own facts, from a JSON file (a list of records, or one record) or a JSONL file (one record a line).

A record:
    {"prompt": "{} comes from", "subject": "Brie", "target": "Spain", "old": "France",
     "paraphrases": ["The home of {} is"], "same_subject": [{"prompt": "{} is a kind of", "answer": "cheese"}],
     "neighbours": [{"prompt": "Camembert comes from", "answer": "France"}],
     "cross_lingual": [{"prompt": "Le {} vient d'", "target": "Espagne", "old": "France", "lang": "fr"}],
     "candidates": ["France", "Spain", "Italy"], "lang": "en"}
Only prompt, subject and target are needed. A prompt may hold the subject itself instead of `{}`. Candidates are for the
questions that share the record's language; where none are given, things of the answer's kind stand in ("Spain": the
countries we know), else all answers of the file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.cases import Case, Probe
from benchmarks.world.knowledge import LANGS, draw_candidates, knowledge
from editing.errors import BadData, BadRequest
from editing.requests import SLOT, EditRequest

DESCRIPTION = "your own facts: fact_file:PATH, JSON or JSONL records with prompt, subject, target"
KINDS = ("fact",)
M = 20
TEXTS = ("prompt", "subject", "target", "old", "lang")
LISTS = {
    "paraphrases": None,
    "candidates": None,
    "neighbours": ("prompt", "answer"),
    "same_subject": ("prompt", "answer"),
    "cross_lingual": ("prompt", "target"),
}
OPTIONAL = {"cross_lingual": ("old", "lang"), "neighbours": ("lang",), "same_subject": ("lang",)}
Raw = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where in the file we are, for messages."""

    file: str
    record: int = 0

    def refuse(self, why: str, mend: str) -> NoReturn:
        where = f"{self.file}, record {self.record}" if self.record else self.file
        raise BadData(f"{where}: {why}; {mend}")


def cases(kind: str, seed: int, argument: str = "") -> list[Case]:
    """The cases of the file that `argument` names."""
    if not argument:
        raise BadRequest("data set 'fact_file' needs a file: write fact_file:PATH")
    return read_facts(argument, seed)


def read_facts(path: str | Path, seed: int = 0) -> list[Case]:
    """One fact case per record, in the file's order.

    Raises:
        BadData: the first fault of the file, naming file, record (counted from 1), key and mend.
    """
    records = list(_records(Path(path)))
    for number, record in enumerate(records, 1):
        _check(Place(str(path), number), record)
    return [_case(Place(str(path), n), record, records, seed) for n, record in enumerate(records, 1)]


def _text(path: Path) -> str:
    place = Place(str(path))
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        place.refuse("no such file", "check the path")
    except IsADirectoryError:
        place.refuse("is a folder", "name a JSON or JSONL file in it")
    except OSError as error:
        place.refuse(f"cannot be read ({error.strerror or error})", "check its permissions")
    if b"\0" in raw:
        place.refuse("holds NUL bytes, so it is no text (perhaps UTF-16)", "save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        place.refuse(f"line {line} is not UTF-8", "save the file as UTF-8")


def _records(path: Path) -> Sequence[Any]:
    text, place = _text(path), Place(str(path))
    if not text.strip():
        place.refuse("is empty", "write at least one record")
    try:
        data = json.loads(text)
    except json.JSONDecodeError as whole:
        lines = [line for line in text.splitlines() if line.strip()]
        # A first line that is an object by itself makes it JSONL; otherwise the fault is that of one JSON document.
        try:
            jsonl = len(lines) > 1 and isinstance(json.loads(lines[0]), dict)
        except json.JSONDecodeError:
            jsonl = path.suffix == ".jsonl"
        if not jsonl:
            place.refuse(f"bad JSON at line {whole.lineno}, column {whole.colno} ({whole.msg})", "mend it there")
        data = []
        for number, line in enumerate(lines, 1):
            try:
                data.append(json.loads(line))
            except json.JSONDecodeError as error:
                Place(str(path), number).refuse(f"bad JSON at column {error.colno} ({error.msg})", "mend it there")
    except RecursionError:
        place.refuse("is nested too deeply", "write a list of flat records")
    if not isinstance(data, list):
        data = [data]
    if not data:
        place.refuse("holds no record", "write at least one")
    return data


def _check(place: Place, record: Any) -> None:
    """Raises `BadData` for the first key that is missing, unknown, of a wrong type or empty."""
    if not isinstance(record, dict):
        place.refuse(
            f"is {type(record).__name__}, not an object", 'write {"prompt": ..., "subject": ..., "target": ...}'
        )
    for key in ("prompt", "subject", "target"):
        if key not in record:
            place.refuse(f"no {key!r}", f'add "{key}"')
    for key in record:
        if key not in TEXTS and key not in LISTS:
            place.refuse(f"unknown key {key!r}", f"use {', '.join((*TEXTS, *LISTS))}")
    for key in TEXTS:
        if key in record:
            _string(place, record[key], key)
    for key, parts in LISTS.items():
        items = record.get(key, [])
        if not isinstance(items, list):
            place.refuse(f"{key!r} is not a list", "write it as [...]")
        for i, item in enumerate(items, 1):
            if parts is None:
                _string(place, item, f"{key}[{i}]")
                continue
            if not isinstance(item, dict) or any(part not in item for part in parts):
                place.refuse(f"{key}[{i}] is not an object with {' and '.join(parts)}", "add what is missing")
            for part, value in item.items():
                if part not in parts + OPTIONAL[key]:
                    place.refuse(f"{key}[{i}] has an unknown key {part!r}", f"use {', '.join(parts + OPTIONAL[key])}")
                _string(place, value, f"{key}[{i}].{part}")
    if record.get("old") == record["target"]:
        place.refuse("'target' equals 'old'", "give another target: an edit must change something")
    for key, item in [("prompt", record["prompt"]), *(("paraphrases", text) for text in record.get("paraphrases", []))]:
        _slot(place, item, record["subject"], key)


def _string(place: Place, value: Any, key: str) -> None:
    if not isinstance(value, str):
        place.refuse(f"{key!r} is {type(value).__name__}, not text", 'write it in "quotes"')
    if not value.strip():
        place.refuse(f"{key!r} is empty", "write it out")
    if any(ord(char) < 32 and char not in "\n\t" for char in value):
        place.refuse(f"{key!r} holds a control character", "remove it")


def _slot(place: Place, prompt: str, subject: str, key: str) -> str:
    """`prompt` with `{}` for the subject, whichever way it was written."""
    slots = prompt.count(SLOT)
    if slots > 1:
        place.refuse(f"{key!r} has {slots} slots {{}}", "keep one")
    if slots == 1:
        return prompt
    if prompt.count(subject) == 0:
        place.refuse(f"subject {subject!r} is absent from {key!r} {prompt!r}", "write the subject or {} in it")
    # The last mention is the one right before the answer.
    head, _, tail = prompt.rpartition(subject)
    return f"{head}{SLOT}{tail}"


def _answers(record: Raw, lang: str) -> list[str]:
    """Every answer that one record gives in `lang`, in the order written."""
    home = record.get("lang", "en")
    out = [record["target"], record.get("old", "")] if home == lang else []
    for item in record.get("cross_lingual", []):
        if item.get("lang", _other(home)) == lang:
            out += [item["target"], item.get("old", "")]
    for key in ("neighbours", "same_subject"):
        out += [item["answer"] for item in record.get(key, []) if item.get("lang", home) == lang]
    return [text.strip() for text in out if text.strip()]


def _other(lang: str) -> str:
    return "fr" if lang == "en" else "en"


def _pool(record: Raw, records: Sequence[Raw], answer: str, lang: str) -> list[str]:
    """What a question may choose from: the record's own list, else things of the answer's kind that the world knowledge
    names ("Spain": countries), else every answer of the file in that language."""
    if record.get("candidates") and record.get("lang", "en") == lang:
        return [text.strip() for text in record["candidates"]]
    if lang in LANGS:
        known = knowledge()
        kinds = [entity.kind for entity in known.entities if entity.word.name(lang) == answer]
        if kinds:
            return [entity.word.name(lang) for entity in known.entities if entity.kind == kinds[0]]
    return [text for each in records for text in _answers(each, lang)]


def _prior(prompt: str, lang: str) -> str:
    """The prompt about nothing in particular. Only English lets a pronoun stand in any slot; others go uncorrected."""
    if lang != "en":
        return ""
    text = prompt.replace(SLOT, "it")
    return text[:1].upper() + text[1:]


def _case(place: Place, record: Raw, records: Sequence[Raw], seed: int) -> Case:
    subject, target, old = record["subject"].strip(), record["target"].strip(), record.get("old", "").strip()
    lang = record.get("lang", "en")
    case_id = f"fact:{place.record}:{subject}"

    def probe(kind: str, prompt: str, answer: str, before: str, of: str, rival: str = "") -> Probe:
        must = [text for text in (answer, before, rival) if text]
        pool = _pool(record, records, answer, of)
        size = max(M, len(record.get("candidates", [])))
        candidates = draw_candidates(pool, must, size, f"{case_id}/{answer}")
        if len(candidates) < 2:
            place.refuse(
                f"a {kind} question has only the answer {answer!r} to choose from", "add 'old' or 'candidates'"
            )
        prior = _prior(prompt, of) if SLOT in prompt else ""
        at = candidates.index(before) if before else None
        text = prompt.replace(SLOT, subject)
        against = candidates.index(rival) if rival and rival != answer else None
        return Probe(kind, text, candidates, candidates.index(answer), at, prior, of, (), subject, rival=against)

    prompt = _slot(place, record["prompt"], subject, "prompt")
    probes = [probe("efficacy", prompt, target, old, lang)]
    for text in record.get("paraphrases", []):
        probes.append(probe("paraphrase", _slot(place, text, subject, "paraphrases"), target, old, lang))
    for item in record.get("cross_lingual", []):
        other = item.get("lang", _other(lang))
        probes.append(
            probe("cross_lingual", item["prompt"], item["target"].strip(), item.get("old", "").strip(), other)
        )
    for key, kind in (("neighbours", "neighbour"), ("same_subject", "same_subject")):
        for item in record.get(key, []):
            answer, of = item["answer"].strip(), item.get("lang", lang)
            rival = target if of == lang and kind == "neighbour" else ""
            probes.append(probe(kind, item["prompt"], answer, answer, of, rival))
    request = EditRequest(case_id, (prompt,), subject, (target,), "subject_last", lang)
    return Case(case_id, "fact", request, tuple(probes), subject, prompt, "fact_file", seed)
