"""Relations of LRE (Hernandez et al. 2024, arXiv:2308.09124): true facts, edited to another object of their relation.

`lre:PATH` is one relation's JSON file, or a folder of them (then the relations take turns, as the files have no order):
    {"name": "food from country", "prompt_templates": ["{} originates from"], "prompt_templates_zs": [...],
     "samples": [{"subject": "Pizza", "object": "Italy"}]}
The first template is edited, the others are paraphrases; neighbours are other samples, those with the same object
first.

Facts with a relation id and a template each, as in the `known_1000.json` of ROME, are read likewise, in the file's
order:
    {"known_id": 0, "subject": "Vinson Massif", "attribute": "Antarctica", "template": "{} is located in the continent",
     "prompt": "Vinson Massif is located in the continent of", "relation_id": "P30"}
Where both are given, `prompt` is edited: the templates of known_1000 lack their last word now and then.

Each sample counts as one record, numbered through the file or folder, so that a fact weighs the same in both forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.datasets.asking import turns
from benchmarks.datasets.reading.case_set import CaseSet, LeftOut
from benchmarks.datasets.reading.drafts import assemble, collect, left_out
from benchmarks.datasets.reading.fields import (
    answers_at,
    look,
    named_language,
    optional_text,
    slotted,
    text_at,
    texts_at,
)
from benchmarks.datasets.reading.records import Place, Record, check_object, read_records
from benchmarks.datasets.reading.sources import DataFile, Source, is_there
from benchmarks.datasets.reading.triples import Triple, drafts_of
from editing.errors import UserError
from editing.text import fill, language_of_text

DESCRIPTION = "LRE relations, a file or a folder, and known_1000 (lre:PATH): true facts, edited to others"
SOURCE = Source("https://github.com/evandez/relations, folder data", "MIT")


def recognises(record: Record) -> bool:
    """Whether the record is a relation with samples, or a fact of known_1000."""
    known = "attribute" in record and "subject" in record and ("template" in record or "prompt" in record)
    return known or ("samples" in record and "prompt_templates" in record)


def read(file: DataFile, seed: int = 0, limit: int | None = None) -> CaseSet:
    """The cases of a file or a folder, and what was left out.

    Raises:
        BadData: a file cannot be read, or no fact can be used.
    """
    path = file.path
    facts, left = _facts(str(path), _rows(file))
    drafts, unused = drafts_of(str(path), facts, seed)
    if is_there(path) and path.is_dir():
        by_relation: dict[str, list] = {}
        for one in drafts:
            by_relation.setdefault(one.relation, []).append(one)
        drafts = turns(by_relation.values())
    return assemble("lre", file, drafts, [*left, *unused], len(facts) + len(left), seed, limit)


def _rows(file: DataFile) -> Sequence[Any]:
    """The records of a file, or of every JSON file below a folder, by name."""
    if not (is_there(file.path) and file.path.is_dir()):
        return file.records
    paths = sorted(file.path.rglob("*.json"))
    if not paths:
        Place(str(file.path)).refuse("holds no JSON file", "name a folder of relations")
    return [record for path in paths for record in read_records(path)]


def _facts(file: str, rows: Sequence[Any]) -> tuple[list[Triple], list[LeftOut]]:
    """The facts of every record, and the samples that are none: all of a relation that cannot be used as a whole."""
    facts: list[Triple] = []
    left: list[LeftOut] = []
    for number, row in enumerate(rows, 1):
        place, before = Place(file, number), len(facts) + len(left)
        try:
            check_object(place, row)
            good, bad = _triples(place, row)
        except UserError as error:
            samples = row.get("samples") if isinstance(row, dict) else None
            count = len(samples) if samples and isinstance(samples, list) else 1
            good, bad = [], [left_out(i, error) for i in range(1, count + 1)]
        facts += [replace(one, record=before + one.record) for one in good]
        left += [LeftOut(before + one.record, one.reason) for one in bad]
    return facts, left


def _triples(place: Place, record: Record) -> tuple[list[Triple], list[LeftOut]]:
    """The facts of one record, and those of its samples that are none, numbered within it."""
    if "samples" not in record:
        return [_fact(place, record)], []
    relation = text_at(place, record, "name")
    templates = []
    for key in ("prompt_templates", "prompt_templates_zs"):
        for prompt in texts_at(place, record, key):
            template = slotted(place, prompt, "", key)[0]  # only its slot names the subject
            templates += [template] if template not in templates else []
    if not templates:
        place.refuse("'prompt_templates' is missing", 'write ["{} comes from"]')
    lang = _language(place, record, templates[0])
    samples = look(record, "samples")[1]
    if not isinstance(samples, list):
        place.refuse(f"'samples' is {type(samples).__name__}, not a list", 'write [{"subject": ..., "object": ...}]')

    def sample(inner: Place, item: Record) -> Triple:
        subject = text_at(inner, item, "subject")
        objects = answers_at(inner, item, "object", "objects")
        if not objects:
            inner.refuse("'object' is missing", "write it out")
        name = f"{relation}:{inner.record}:{subject}"
        return Triple(inner.record, name, relation, subject, objects, tuple(templates), lang)

    return collect(f"{place.file}: record {place.record} ({relation:.60}): samples", samples, sample)


def _language(place: Place, record: Record, template: str) -> str:
    return named_language(place, record) or language_of_text(fill(template, ""))


def _fact(place: Place, record: Record) -> Triple:
    subject = text_at(place, record, "subject")
    objects = answers_at(place, record, "attribute", "object")
    if not objects:
        place.refuse("'attribute' is missing", "write it out")
    templates = []
    for key in ("prompt", "template"):
        if look(record, key)[1] is not None:
            templates.append(slotted(place, text_at(place, record, key), subject, key)[0])
    if not templates:
        place.refuse("neither 'prompt' nor 'template'", "write the text before the answer")
    relation = optional_text(place, record, "relation_id", "relation", "predicate_id") or templates[-1]
    name = optional_text(place, record, "known_id", "id") or place.record
    return Triple(
        1,
        f"{name}:{subject}",
        relation,
        subject,
        objects,
        tuple(templates[:1]),
        _language(place, record, templates[0]),
    )
