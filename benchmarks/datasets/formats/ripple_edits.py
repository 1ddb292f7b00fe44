"""RippleEdits (Cohen et al. 2024, arXiv:2307.12976): what else has to change, and what must not, when one fact does.

    {"example_type": "popular",
     "edit": {"prompt": "The name of the father of X is Y.", "subject_id": "Q1", "relation": "FATHER",
     "target_id": "Q2", "original_fact": {"prompt": "The name of the father of X is Z."}},
     "Logical_Generalization": [{"test_queries": [{"prompt": ..., "answers": [{"value": ..., "aliases": [...]}]}],
                                 "test_condition": "OR", "condition_queries": [...]}], ...}

Logical_Generalization becomes `relation`, Compositionality_I and _II `multi_hop`, Subject_Aliasing `alias`,
Relation_Specificity `same_subject`; Forgetfulness (the other objects of the edited relation stay true) `same_subject`
without the target among the candidates. Every test query is one probe, also of a group whose condition is OR. Condition
queries only filter models in the paper; they are not evaluated, and a note counts them.

The edit is a whole sentence: its answer follows the last "is", and the subject's name, which no key holds, is what
follows the relation's words, else what the questions about the same subject end with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from typing import Any

from benchmarks.datasets.reading.case_set import CaseSet
from benchmarks.datasets.reading.drafts import Draft, Question, draft, keep, read_file
from benchmarks.datasets.reading.fields import (
    ANSWER,
    VALUES,
    answers,
    answers_at,
    fold,
    look,
    mapping,
    named_language,
    objects,
    optional_text,
    text_at,
)
from benchmarks.datasets.reading.records import Place, Record
from benchmarks.datasets.reading.sources import DataFile, Source

DESCRIPTION = "RippleEdits (ripple_edits:PATH): ripple effects of one edit, in six groups"
COMMIT = "21182d13b6ddaa50f023052d13ff59e279deec05"
SOURCE = Source(
    "https://github.com/edenbiran/RippleEdits, folder data/benchmark",
    "MIT",
    f"https://media.githubusercontent.com/media/edenbiran/RippleEdits/{COMMIT}/data/benchmark/recent.json",
    sha256="bc71807ea72280e2587bd1974fc79ae7e23aa24b1d5887bcdced40d448910547",
)
GROUPS = {
    "Logical_Generalization": "relation",
    "Compositionality_I": "multi_hop",
    "Compositionality_II": "multi_hop",
    "Subject_Aliasing": "alias",
    "Relation_Specificity": "same_subject",
    "Forgetfulness": "same_subject",
}
IS = " is "


def recognises(record: Record) -> bool:
    """Whether the record is of this form."""
    return isinstance(record.get("edit"), dict) and any(group in record for group in GROUPS)


def read(file: DataFile, seed: int = 0, limit: int | None = None) -> CaseSet:
    """The file's cases, in its order, and what was left out.

    Raises:
        BadData: the file cannot be read, or none of its records can be used.
    """
    unasked: list[int] = []

    def parse(place: Place, record: Record) -> list[Draft]:
        made = one(place, record)
        unasked.append(sum(len(_queries(place, test, "condition_queries")) for _, test in _tests(place, record)))
        return [made]

    case_set = read_file("ripple_edits", file, parse, seed, limit)
    note = f"{sum(unasked)} condition queries are not evaluated: they filter models, they judge no edit"
    return replace(case_set, notes=(note, *case_set.notes)) if any(unasked) else case_set


def one(place: Place, record: Record) -> Draft:
    """The edit of one record, with its questions."""
    edit = mapping(place, look(record, "edit")[1], "edit")
    before = mapping(place, look(edit, "original_fact", "previous_fact")[1], "edit.original_fact")
    stem, target = _sentence(place, edit, "edit")
    old_stem, old = _sentence(place, before, "edit.original_fact") if before else (stem, ())
    if fold(stem) != fold(old_stem):
        place.refuse(
            "'edit.original_fact.prompt' is another sentence than 'edit.prompt'", "make them alike but for the answer"
        )
    relation = optional_text(place, edit, "relation", "relation_id")
    subject = _subject(place, record, edit, stem, relation)
    lang = named_language(place, record) or named_language(place, edit)
    made = draft(place, "edit.prompt", stem, subject, target, old, relation, lang, literal=True)
    questions = [
        _question(place, made, group, query)
        for group, test in _tests(place, record)
        for query in _queries(place, test, "test_queries")
    ]
    whole = tuple(filter(None, questions))
    return made._replace(questions=whole, unanswered=len(questions) - len(whole))


def _sentence(place: Place, fact: Record, key: str) -> tuple[str, tuple[str, ...]]:
    """A fact's sentence up to its answer, and the answer."""
    said = text_at(place, fact, "prompt", "fact_prompt", under=f"{key}.").removesuffix(".")
    given = answers_at(place, fact, "target", "answer", "target_label", under=f"{key}.")
    if given:
        return said.removesuffix(given[0]).strip(), given
    head, link, tail = said.rpartition(IS)
    if not link or not tail.strip():
        place.refuse(f"'{key}.prompt' does not end with `is` and an answer", f"write the answer as {key}.target")
    return head + IS.rstrip(), answers(place, tail, f"{key}.prompt")


def _subject(place: Place, record: Record, edit: Record, stem: str, relation: str) -> str:
    key, named = look(edit, "subject", "subject_label", "subject_name")
    if named is not None:
        return answers(place, named, f"edit.{key}")[0]
    bare = stem.removesuffix(IS.rstrip())
    words = re.escape(relation.replace("_", " ").lower())
    if words and (match := re.search(rf"\b{words} of (.+)$", bare, re.IGNORECASE)):
        return match[1]
    for _, test in _tests(place, record):
        for query in _queries(place, test, "test_queries"):
            prompt = str(look(query, "prompt", "phrase")[1] or "").removesuffix(IS.rstrip())
            shared = _common_end(bare, prompt).partition(" of ")[2]
            if prompt and look(query, "subject_id") == look(edit, "subject_id") and shared and prompt != bare:
                return shared
    place.refuse(f"the subject's name cannot be read from {stem!r:.120}", "add it as edit.subject")


def _common_end(a: str, b: str) -> str:
    """The longest text that both end with."""
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(a), reversed(b), strict=False)))
    return a[len(a) - alike :]


def _tests(place: Place, record: Record) -> Iterator[tuple[str, Record]]:
    for group in GROUPS:
        for test in objects(place, look(record, group)[1], group):
            yield group, test


def _queries(place: Place, test: Record, key: str) -> list[dict[str, Any]]:
    return objects(place, look(test, key)[1], key)


def _question(place: Place, edit: Draft, group: str, query: Record) -> Question | None:
    """A test query; None where it has no text or none of its answers has a name."""
    prompt = optional_text(place, query, "prompt", "phrase")
    given = look(query, "answers", "answer")[1]
    if isinstance(given, list):  # an entity without a label is written as {"value": "", "aliases": []}
        given = [one for one in given if not isinstance(one, dict) or look(one, *VALUES)[1] is not None]
    said = answers(place, given, f"{group}.answers")
    if not prompt or not said:
        return None
    kind = GROUPS[group]
    name = optional_text(place, query, "second_relation", "relation", limit=ANSWER) or group
    question = keep(edit, kind, prompt, said, "" if name == edit.relation else name)
    if group == "Forgetfulness":
        return question._replace(rivals=(), aliases=(*question.aliases, edit.target, *edit.aliases))
    if kind == "same_subject":
        return question
    own = fold(said[0]) == fold(edit.target)
    return question._replace(rivals=(), old=edit.old if own else "")
