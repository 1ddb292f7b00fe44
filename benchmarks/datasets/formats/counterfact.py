"""CounterFact (Meng et al. 2022, arXiv:2202.05262, section 3.4), as published and in EasyEdit's flat form.

    {"case_id": 0, "requested_rewrite": {"prompt": "The mother tongue of {} is", "relation_id": "P103",
     "target_new": {"str": "English"}, "target_true": {"str": "French"}, "subject": "Danielle Darrieux"},
     "paraphrase_prompts": [...], "neighborhood_prompts": [...], "attribute_prompts": [...],
     "generation_prompts": [...]}

Paraphrases and neighbours are evaluated as the paper does; each may choose from the target, the old answer and others.
Prompts for generation become `fluency` probes. Attribute prompts are about subjects for which the target is true: an
edit that says its target everywhere would pass them all, so they are not evaluated, and a note counts them.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.datasets.formats import easyedit
from benchmarks.datasets.reading.case_set import CaseSet
from benchmarks.datasets.reading.drafts import Draft, Question, ask, draft, read_file
from benchmarks.datasets.reading.fields import (
    answers_at,
    filled,
    look,
    mapping,
    named_language,
    sub_objects,
    text_at,
    texts_at,
)
from benchmarks.datasets.reading.records import Place, Record
from benchmarks.datasets.reading.sources import DataFile, Source

DESCRIPTION = "CounterFact (counterfact:PATH), as published or in EasyEdit's flat form"
# The authors' server has no versions; this repository holds the same file (by its checksum) at a commit.
SOURCE = Source(
    "https://rome.baulab.info/data/dsets/counterfact.json",
    "MIT",
    "https://media.githubusercontent.com/media/scalable-model-editing/rebuilding-rome/"
    "4095d048607292ec0ac3c1333124a94bb61a3bcb/data/counterfact.json",
    "d017056125178a13728594e66a801357a8db9ed7973a7425554bb4271de9fc6f",
)
REWRITE = "requested_rewrite"


def recognises(record: Record) -> bool:
    """Whether the record is of this form, nested or flat."""
    if sub_objects(record):
        return False
    if REWRITE in record:
        return "questions" not in record and "new_answer" not in record
    flat = ("case_id", "prompt", "target_new", "locality_ground_truth")
    return all(key in record for key in flat) and "portability" not in record


def read(file: DataFile, seed: int = 0, limit: int | None = None) -> CaseSet:
    """The file's cases, in its order, and what was left out.

    Raises:
        BadData: the file cannot be read, or none of its records can be used.
    """
    unasked: list[int] = []

    def parse(place: Place, record: Record) -> list[Draft]:
        if REWRITE not in record:
            return [_flat(place, record)]
        about = look(record, "attribute_prompts")[1]
        unasked.append(len(about) if isinstance(about, list) else about is not None)
        return [nested(place, record)]

    case_set = read_file("counterfact", file, parse, seed, limit)
    note = f"{sum(unasked)} attribute prompts are left out: an edit that says its target everywhere would pass them"
    return replace(case_set, notes=(note, *case_set.notes)) if any(unasked) else case_set


def _flat(place: Place, record: Record) -> Draft:
    """The edit of a flat record. Its locality question is about another subject, even one of the same name."""
    edit = easyedit.parse(place, record)
    same = [q._replace(kind="neighbour", about="", prior="") if q.kind == "same_subject" else q for q in edit.questions]
    return edit._replace(questions=tuple(same))


def nested(place: Place, record: Record, lang: str = "", strict: bool = True) -> Draft:
    """The edit of a record as published, with its questions. `lang` and `strict` as in `draft`."""
    lang = lang or named_language(place, record)
    edit = rewrite(place, one_rewrite(place, record), easyedit.id_of(place, record), lang, strict)
    questions = [ask(edit, "paraphrase", said) for said in texts_at(place, record, "paraphrase_prompts")]
    near = texts_at(place, record, "neighborhood_prompts", "neighbourhood_prompts")
    if edit.old:
        questions += [
            Question("neighbour", said, edit.old, (), edit.old, (edit.target,), lang=edit.lang) for said in near
        ]
    for said in texts_at(place, record, "generation_prompts"):
        questions.append(Question("fluency", filled(said, edit.subject), lang=edit.lang, about=edit.subject))
    # Neighbours share the old answer; without it nothing is right for them.
    return edit._replace(questions=tuple(questions), unanswered=0 if edit.old else len(near))


def one_rewrite(place: Place, record: Record) -> Record:
    """The record's rewrite, also where it is a list of one."""
    value = look(record, REWRITE)[1]
    if isinstance(value, list):
        if len(value) != 1:
            place.refuse(f"{REWRITE!r} holds {len(value)} rewrites", "keep one; MQuAKE's form is read by mquake:PATH")
        value = value[0]
    return mapping(place, value, REWRITE)


def rewrite(place: Place, request: Record, name: str = "", lang: str = "", strict: bool = True) -> Draft:
    """The edit of a `requested_rewrite`, whose prompt is a template."""
    under = f"{REWRITE}."
    return draft(
        place,
        f"{REWRITE}.prompt",
        text_at(place, request, "prompt", under=under),
        text_at(place, request, "subject", under=under),
        answers_at(place, request, "target_new", "target", under=under),
        answers_at(place, request, "target_true", "ground_truth", "target_old", under=under),
        relation=easyedit.relation_of(place, request),
        lang=lang or named_language(place, request),
        name=name,
        strict=strict,
    )
