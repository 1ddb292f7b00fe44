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

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Probe
from benchmarks.datasets.reading.fields import fold, prior, text
from benchmarks.datasets.reading.records import Place, Record, Written, check_object, read_records, type_name
from benchmarks.world import LANGS, draw_candidates, knowledge
from editing.errors import BadRequest
from editing.text import SLOT, EditRequest

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


def recognises(record: Record) -> bool:
    """Whether the record is of this form: it has the needed keys and no others than these."""
    return {"prompt", "subject", "target"} <= set(record) <= {*TEXTS, *LISTS}


def cases(kind: str, seed: int, argument: str = "") -> list[Case]:
    """The cases of the file that `argument` names."""
    if not argument:
        raise BadRequest("data set 'fact_file' needs a file: write fact_file:PATH")
    return read_facts(argument, seed)


def read_facts(path: str | Path, seed: int = 0) -> list[Case]:
    """One fact case per record, in the file's order.

    Raises:
        BadData: the first fault of the file, naming file, record (counted from 1), key and fix.
    """
    records = list(read_records(Path(path)))
    for number, record in enumerate(records, 1):
        _check(Place(str(path), number), record)
    return [_case(Place(str(path), n), record, records, seed) for n, record in enumerate(records, 1)]


def _check(place: Place, record: Any) -> None:
    """Raises `BadData` for the first key that is missing, unknown, of a wrong type or empty."""
    check_object(place, record, '{"prompt": ..., "subject": ..., "target": ...}')
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
    if fold(record.get("old", "")) == fold(record["target"]):
        place.refuse("'target' equals 'old'", "give another target: an edit must change something")
    for key, item in [("prompt", record["prompt"]), *(("paraphrases", said) for said in record.get("paraphrases", []))]:
        _slot(place, item, record["subject"], key)


def _string(place: Place, value: Any, key: str) -> None:
    if not isinstance(value, str) or isinstance(value, Written):
        place.refuse(f"{key!r} is {type_name(value)}, not text", 'write it in "quotes"')
    text(place, value, key)


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
        at = candidates.index(before) if before else None
        text = prompt.replace(SLOT, subject)
        against = candidates.index(rival) if rival and rival != answer else None
        return Probe(
            kind, text, candidates, candidates.index(answer), at, prior(prompt, of), of, (), subject, rival=against
        )

    prompt = _slot(place, record["prompt"], subject, "prompt")
    probes = [probe("efficacy", prompt, target, old, lang)]
    for said in record.get("paraphrases", []):
        probes.append(probe("paraphrase", _slot(place, said, subject, "paraphrases"), target, old, lang))
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
