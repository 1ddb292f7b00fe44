"""Facts of mLAMA and mParaRel: labels and QIDs, one fact a line, edited to another object of their relation.

    {"sub_uri": "Q90", "sub_label": "Paris", "obj_uri": "Q142", "obj_label": "France",
     "predicate_id": "P17", "lang": "en"}

JSONL, JSON, CSV or TSV; the columns may also be called subject, object, relation, subject_qid... A fact is evaluated by
its `pattern` ("[X] is in [Y]") or `prompt`, or by the patterns of `mpararel:PATH#templates=FOLDER` (LANG/P17.jsonl, one
pattern a line). Only patterns that end with the object are evaluated, and of the folder only English ones: the others
are machine-translated. Facts in another language with the same subject and relation, and a pattern of their own, are
evaluated as `cross_lingual` where the new object has a name in that language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.datasets.reading.case_set import CaseSet
from benchmarks.datasets.reading.drafts import Draft, Question, assemble, collect
from benchmarks.datasets.reading.fields import (
    ANSWER,
    answers_at,
    fold,
    look,
    named_language,
    optional_text,
    prior,
    slotted,
    text_at,
    texts,
)
from benchmarks.datasets.reading.patterns import Patterns, prompt_of
from benchmarks.datasets.reading.records import Place, Record
from benchmarks.datasets.reading.sources import DataFile, Source
from benchmarks.datasets.reading.triples import Triple, drafts_of
from editing.errors import BadRequest
from editing.text import fill, find_language, language_of_text

DESCRIPTION = "mParaRel and mLAMA facts, TSV or JSONL with labels and QIDs (mpararel:PATH#templates=FOLDER)"
SOURCE = Source("https://github.com/coastalcph/mpararel", "none stated")
SUBJECTS = ("sub_label", "subject_label", "subject", "sub")
OBJECTS = ("obj_label", "object_label", "object", "obj", "answer")
RELATIONS = ("predicate_id", "relation_id", "relation", "predicate", "pid", "property")
SUBJECT_QIDS = ("sub_uri", "sub_qid", "subject_qid", "subject_id")
OBJECT_QIDS = ("obj_uri", "obj_qid", "object_qid", "object_id")
OPTIONS = "#templates=FOLDER or a language such as #fr"


@dataclass(frozen=True)
class Row:
    """A fact with what names its subject and its object in every language: QIDs, else folded labels."""

    fact: Triple
    subject: str
    object: str


def recognises(record: Record) -> bool:
    """Whether the record is of this form."""
    parts = (SUBJECTS, OBJECTS[:4], RELATIONS)
    return all(any(key in record for key in keys) for keys in parts) and "target" not in record


def read(file: DataFile, seed: int = 0, limit: int | None = None) -> CaseSet:
    """The file's cases, in its order, and what was left out.

    Facts in English are edited where there are any, else those of the first language; `#fr` chooses French.

    Raises:
        BadRequest: an unknown option.
        BadData: a file cannot be read, or none of its records can be used.
    """
    patterns, chosen = None, ""
    for option in file.options:
        name, _, value = option.partition("=")
        if name == "templates" and value:
            patterns = Patterns(Path(value).expanduser())
        elif code := find_language(option):
            chosen = code
        else:
            raise BadRequest(f"mpararel: unknown option #{option:.60}; use {OPTIONS}")
    rows, left = collect(str(file.path), file.records, lambda place, record: _row(place, record, patterns))
    langs = list(dict.fromkeys(row.fact.lang for row in rows))
    home = chosen or ("en" if "en" in langs or not langs else langs[0])
    if rows and home not in langs:
        raise BadRequest(f"mpararel: {file.path} has no facts in {home!r}; it has {', '.join(langs)}")
    drafts, unused = drafts_of(str(file.path), [row.fact for row in rows if row.fact.lang == home], seed)
    drafts = _crossed(drafts, rows, home)
    others = sum(row.fact.lang != home for row in rows)
    notes = [f"{others} facts in other languages than {home!r} are not edited, only evaluated"] if others else []
    return assemble("mpararel", file, drafts, [*left, *unused], len(file.records) - others, seed, limit, notes)


def _row(place: Place, record: Record, patterns: Patterns | None) -> Row:
    subject = text_at(place, record, *SUBJECTS, limit=ANSWER)
    objects = answers_at(place, record, *OBJECTS)
    if not objects:
        place.refuse(f"{OBJECTS[0]!r} is missing", "write it out")
    relation = text_at(place, record, *RELATIONS, limit=ANSWER)
    lang = named_language(place, record)
    own = _own(place, record, subject)
    lang = lang or language_of_text(own[0] if own else subject)
    prompts = [*own, *(patterns.of(relation, lang) if patterns and lang == "en" else ())]
    if not prompts:
        place.refuse(f"no pattern asks for {relation!r:.60}", "add `pattern` ([X] ... [Y]), or #templates=FOLDER")
    subject_id, object_id = (fold(optional_text(place, record, *keys)) for keys in (SUBJECT_QIDS, OBJECT_QIDS))
    fact = Triple(place.record, str(place.record), relation, subject, objects, tuple(dict.fromkeys(prompts)), lang)
    return Row(fact, subject_id or fold(subject), object_id or fold(objects[0]))


def _own(place: Place, record: Record, subject: str) -> list[str]:
    key, value = look(record, "pattern", "patterns", "template", "prompt")
    made = []
    for said in texts(place, value, key):
        if "[Y]" in said:
            if not (prompt := prompt_of(said)):
                place.refuse(f"{key!r} {said!r:.120} does not end with its object", "write [X] once and [Y] last")
            made.append(prompt)
        else:
            made.append(slotted(place, said, subject, key)[0])
    return made


def _crossed(drafts: Sequence[Draft], rows: Sequence[Row], home: str) -> list[Draft]:
    """The drafts, each with the questions of the same fact in other languages."""
    edited = {row.fact.id: row for row in rows if row.fact.lang == home}
    called = {(row.fact.relation, fold(row.fact.said[0])): row.object for row in edited.values()}
    abroad: dict[tuple[str, str], list[Row]] = {}
    names: dict[tuple[str, str, str], str] = {}
    for row in rows:
        if row.fact.lang != home:
            abroad.setdefault((row.fact.relation, row.subject), []).append(row)
            names.setdefault((row.fact.lang, row.fact.relation, row.object), row.fact.said[0])
    made = []
    for one in drafts:
        new = called[one.relation, fold(one.target)]
        questions = []
        for row in abroad.get((one.relation, edited[one.id].subject), []):
            target = names.get((row.fact.lang, one.relation, new))
            if target and fold(target) not in map(fold, row.fact.said):
                questions += [_cross(row.fact, template, target) for template in row.fact.templates]
        made.append(one._replace(questions=(*one.questions, *questions)))
    return made


def _cross(fact: Triple, template: str, target: str) -> Question:
    prompt = fill(template, fact.subject)
    return Question(
        "cross_lingual", prompt, target, (), fact.said[0], (), prior(template, fact.lang), fact.lang, fact.subject
    )
