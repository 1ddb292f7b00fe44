"""Your own facts as a table of ten columns: CSV, TSV, or JSONL with the same keys.

| column | holds |
|---|---|
| id | names the fact; rows with one id say it in several languages |
| lang | language of the row, a code or a name; that of its script where it is empty |
| relation | the kind of question, such as `capital`; groups candidates and neighbours |
| subject | what the fact is about |
| prompt | the text up to the answer, with `{}` or the subject itself in it |
| target | what the edited model should answer |
| old | what is true now |
| aliases | other texts that are as right as the target |
| paraphrases | other prompts for the same fact |
| neighbours | facts that should stay, each `prompt => answer` |

Only subject, prompt and target are needed; further columns are not read, which a note says. The last three hold several
texts with ` | ` between them (in JSON also a list). Of rows with one id the first is edited, the others are evaluated
as `cross_lingual`. A fact without neighbours gets up to four from other rows of its relation and language whose `old`
is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.datasets.formats import fact_file
from benchmarks.datasets.reading.case_set import CaseSet
from benchmarks.datasets.reading.drafts import Draft, Question, ask, ask_template, assemble, collect, draft, keep
from benchmarks.datasets.reading.fields import BETWEEN, check_slots, fold, look, named_language, prior, text, texts
from benchmarks.datasets.reading.records import Place, Record
from benchmarks.datasets.reading.sources import DataFile
from editing.text import fill

DESCRIPTION = "your own facts as a table of ten columns (facts_table:PATH), CSV, TSV or JSONL"
COLUMNS = ("id", "lang", "relation", "subject", "prompt", "target", "old", "aliases", "paraphrases", "neighbours")
ONE = COLUMNS[:7]  # one text each
NEEDED = ("subject", "prompt", "target")
OWN = ("old", "aliases", "neighbours")
EASYEDIT = ("locality", "portability", "rephrase")  # how keys of that form begin
NEIGHBOURS = 4
ARROW = "=>"


def recognises(record: Record) -> bool:
    """Whether the record is of this form and not simply one of `fact_file`, which no row of a table is.

    A row of a table, or a record of JSON, may have further keys, such as a source or pandas' index, beside one of OWN.
    """
    own = any(key in record for key in OWN) and not any(key.startswith(EASYEDIT) for key in record)
    known = own or set(record) <= set(COLUMNS)
    return known and set(NEEDED) <= set(record) and not fact_file.recognises(record)


def read(file: DataFile, seed: int = 0, limit: int | None = None) -> CaseSet:
    """The file's cases, in its order, and what was left out.

    Raises:
        BadData: the first fault of the file, naming file, record, column and fix.
    """
    languages: dict[str, set[str]] = {}

    def parse(place: Place, row: Any) -> Draft:
        made = _parse(place, row, strict=str(look(row, "id")[1]) not in languages)
        if made.lang in languages.setdefault(made.id, set()):
            fix = "give every fact an id of its own, or name the language of the row as lang"
            place.refuse(f"id {made.id!r} has a row in {made.lang} already", fix)
        languages[made.id].add(made.lang)
        return made

    drafts, bad = collect(str(file.path), file.records, parse)
    made = _merged(drafts)
    kin: dict[tuple[str, str], list[Draft]] = {}
    for one in made:
        kin.setdefault((one.relation, one.lang), []).append(one)
    near = [_with_neighbours(one, kin[one.relation, one.lang]) for one in made]
    merged = len(drafts) - len(made)
    notes = (
        [f"{merged} rows say another row's fact in another language; they are evaluated, not edited"] if merged else []
    )
    return assemble("facts_table", file, near, bad, len(file.records) - merged, seed, limit, notes)


def _parse(place: Place, row: Any, strict: bool) -> Draft:
    """A row; only the first one of an id is edited, so only there the prompt must name the subject."""
    cell = {key: text(place, value, key) for key in ONE if (value := look(row, key)[1]) is not None}
    for key in NEEDED:
        if key not in cell:
            place.refuse(f"no {key!r}", f"fill the column {key}")
    for key in ("subject", "target", "old"):
        if BETWEEN in cell.get(key, ""):
            place.refuse(f"{key!r} {cell[key]!r:.80} holds several texts", "write one; those as right are aliases")
    lang = named_language(place, row)
    target = (text(place, cell["target"], "target", 500).strip(), *_several(place, row, "aliases"))
    old = (text(place, cell["old"], "old", 500).strip(),) if "old" in cell else ()
    edit = draft(
        place,
        "prompt",
        cell["prompt"],
        cell["subject"],
        target,
        old,
        relation=cell.get("relation", ""),
        lang=lang,
        name=cell.get("id", f"row {place.record}"),
        strict=strict,
    )
    paraphrases = _several(place, row, "paraphrases")
    check_slots(place, "paraphrases", paraphrases)
    questions = [ask(edit, "paraphrase", said) for said in paraphrases]
    unasked = 0
    for said in _several(place, row, "neighbours"):
        prompt, _, answer = (part.strip() for part in said.partition(ARROW))
        if prompt and answer:
            questions.append(keep(edit, "neighbour", prompt, (answer,)))
        else:
            unasked += 1
    return edit._replace(questions=tuple(questions), unanswered=unasked)


def _several(place: Place, row: Record, key: str) -> list[str]:
    """The texts of a cell, or of a JSON list."""
    value = look(row, key)[1]
    if value is None:
        return []
    return texts(place, value if isinstance(value, list) else text(place, value, key).split(BETWEEN.strip()), key)


def _merged(drafts: Sequence[Draft]) -> list[Draft]:
    """One draft per id: the first row's, with what the other languages' rows ask."""
    by_id: dict[str, list[Draft]] = {}
    for one in drafts:
        by_id.setdefault(one.id, []).append(one)
    made = []
    for first, *others in by_id.values():
        questions = list(first.questions)
        for other in others:
            for question in (ask_template(other, "cross_lingual", other.prompt), *other.questions):
                kept = question.kind == "neighbour"
                questions.append(question if kept else question._replace(kind="cross_lingual"))
        made.append(first._replace(questions=tuple(questions)))
    return made


def _with_neighbours(edit: Draft, kin: Sequence[Draft]) -> Draft:
    """The draft; where it has no neighbours, with some of its `kin` (relation, language), the same old answer first."""
    if any(q.kind == "neighbour" for q in edit.questions):
        return edit
    others = [
        one for one in kin if one.old and fold(one.old) != fold(edit.target) and fold(one.subject) != fold(edit.subject)
    ]
    others.sort(key=lambda one: fold(one.old) != fold(edit.old))
    near = [
        Question(
            kind="neighbour",
            prompt=fill(one.prompt, one.subject),
            answer=one.old,
            old=one.old,
            rivals=(edit.target,),
            prior=prior(one.prompt, one.lang),
            lang=one.lang,
            about=one.subject,
        )
        for one in others[:NEIGHBOURS]
    ]
    return edit._replace(questions=(*edit.questions, *near))
