"""Records that say one edit in several languages, each in a sub-object named by its code.

    {"id": 7, "en": {"prompt": "{} comes from", "subject": "Brie", "target_new": "Spain", "ground_truth": "France"},
     "fr": {"prompt": "Le {} vient d'", "subject": "brie", "target_new": "Espagne", "ground_truth": "Italie",
            "rephrase_prompt": [...], "locality": {...}}}

A sub-object has the keys of EasyEdit's form or of zsRE, or a `requested_rewrite`. One language may stand in the record
itself, beside the other's sub-object; its language is then `lang`, else that of its script. Languages are named in any
common form ("fr", "fra", "fr-CA", "French"). A part in another language that cannot be used is left out and counted,
and one whose question does not name the subject is evaluated as it stands. English is edited where it is there, else
the first language; `multilingual:PATH#fr` edits French. What other languages ask of the edit becomes `cross_lingual`;
what they ask of other facts keeps its kind.
"""

from __future__ import annotations

from benchmarks.datasets.formats import counterfact, easyedit, zsre
from benchmarks.datasets.reading.case_set import CaseSet
from benchmarks.datasets.reading.drafts import Draft, ask_template, read_file
from benchmarks.datasets.reading.fields import look, named_language, sub_objects
from benchmarks.datasets.reading.records import Place, Record, language_key
from benchmarks.datasets.reading.sources import DataFile
from benchmarks.datasets.reading.values import alike
from editing.errors import BadData, BadRequest
from editing.text import language_code, language_of_text
from valley.rows import GENERALISATION

DESCRIPTION = "one edit in several languages (multilingual:PATH, multilingual:PATH#fr): en and fr sub-objects"
OPTIONS = "one language, such as #fr"


def recognises(record: Record) -> bool:
    """Whether the record is of this form."""
    return any(_is_edit(part) and "new" not in part for part in sub_objects(record).values())


def _is_edit(part: Record) -> bool:
    return counterfact.REWRITE in part or any(key in part for key in easyedit.PROMPTS)


def read(file: DataFile, seed: int = 0, limit: int | None = None) -> CaseSet:
    """The file's cases, in its order, and what was left out.

    Raises:
        BadRequest: an option that is no language.
        BadData: the file cannot be read, or none of its records can be used.
    """
    if len(file.options) > 1:
        raise BadRequest(f"multilingual: unknown option #{'#'.join(file.options):.60}; name {OPTIONS}")
    lang = language_code(file.options[0]) if file.options else ""
    return read_file("multilingual", file, lambda p, r: [parse(p, r, lang)], seed, limit)


def parse(place: Place, record: Record, lang: str = "") -> Draft:
    """The edit of one record in `lang`, with the questions of all its languages."""
    said = languages(place, record)
    home = lang or ("en" if "en" in said else next(iter(said)))
    if home not in said:
        place.refuse(f"no {home!r} sub-object", f"it has {', '.join(said)}")
    edit = _draft(place, said.pop(home), home)
    questions = list(edit.questions)
    relation = easyedit.relation_of(place, record) or edit.relation
    unanswered = edit.unanswered
    for code, part in said.items():
        try:
            other = _draft(place, part, code, strict=False)
        except BadData:  # the edit needs none of what another language lacks
            unanswered += 1
            continue
        unanswered += other.unanswered
        for question in (ask_template(other, "cross_lingual", other.prompt), *other.questions):
            hop = question.kind == "multi_hop"  # asks for another fact, in whichever language
            kind = "cross_lingual" if question.kind in GENERALISATION and not hop else question.kind
            questions.append(question._replace(kind=kind))
    name = easyedit.id_of(place, record) or edit.id
    return edit._replace(id=name, relation=relation, questions=tuple(questions), unanswered=unanswered)


def languages(place: Place, record: Record) -> dict[str, Record]:
    """Each language's part of a record."""
    said = sub_objects(record)
    if _is_edit(record):
        own_prompt = str(look(record, *easyedit.PROMPTS)[1] or "")
        code = named_language(place, record) or language_of_text(own_prompt)
        said = {code: alike(record, {k: v for k, v in record.items() if language_key(k) not in said}), **said}
    if not said:
        place.refuse("no language's sub-object", 'write {"en": {"prompt": ...}, "fr": {...}}')
    shared = {key: record[key] for key in easyedit.SUBJECTS if key in record}
    return {code: alike(record, {**shared, **part}) for code, part in said.items()}


def _draft(place: Place, part: Record, lang: str, strict: bool = True) -> Draft:
    inner = Place(place.file, place.record)
    if zsre.recognises(part):
        return zsre.parse(inner, part, lang, strict)
    if counterfact.REWRITE not in part:
        return easyedit.parse(inner, part, lang, strict)
    return counterfact.nested(inner, part, lang, strict)
