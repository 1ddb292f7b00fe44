"""zsRE as MEND publishes it (Levy et al. 2017; De Cao et al. 2021; Mitchell et al. 2022, arXiv:2110.11309).

    {"subject": "WEFS", "src": "When was WEFS established?", "answers": ["1987"], "alt": "1997",
     "rephrase": "When has WEFS been established?",
     "loc": "nq question: who voiced gaston ...", "loc_ans": "Richard White"}

The edit goes from the first of `answers` to `alt`. Without `alt` the true answer itself is taught, as MEMIT does; what
the model said before is then unknown. `loc` is a question about something else (NQ): a `neighbour` that must not answer
the target. Lists of `loc` and `loc_ans` are paired; questions that are not as many as their answers are counted and not
evaluated. `portability` and `locality` are read as in EasyEdit's form.
"""

from __future__ import annotations

from benchmarks.datasets.formats import easyedit
from benchmarks.datasets.reading.case_set import CaseSet
from benchmarks.datasets.reading.drafts import Draft, Question, draft, read_file
from benchmarks.datasets.reading.fields import answers_at, look, named_language, sub_objects, text_at
from benchmarks.datasets.reading.records import Place, Record
from benchmarks.datasets.reading.sources import DataFile, Source
from editing.text import question

DESCRIPTION = "zsRE in the form of MEND (zsre:PATH): src, rephrase, alt, answers, loc"
SOURCE = Source(  # a server without commits: the checksum alone says which file it is
    "https://rome.baulab.info/data/",
    "none stated",
    "https://rome.baulab.info/data/dsets/zsre_mend_eval.json",
    "8a371d512f8a6ab175db4ef672181d5c0e52da23298cb51e5a2eeea2f89aa9cd",
)
NQ = "nq question:"


def recognises(record: Record) -> bool:
    """Whether the record is of this form."""
    return "src" in record and ("alt" in record or "answers" in record) and not sub_objects(record)


def read(file: DataFile, seed: int = 0, limit: int | None = None) -> CaseSet:
    """The file's cases, in its order, and what was left out.

    Raises:
        BadData: the file cannot be read, or none of its records can be used.
    """
    return read_file("zsre", file, lambda p, r: [parse(p, r)], seed, limit)


def parse(place: Place, record: Record, lang: str = "", strict: bool = True) -> Draft:
    """The edit of one record, with its questions. `lang` and `strict` as in `draft`; `lang` by default the record's."""
    true = answers_at(place, record, "answers", "answer")
    alt = answers_at(place, record, "alt", "target_new")
    edit = draft(
        place,
        "src",
        text_at(place, record, "src", "prompt"),
        text_at(place, record, "subject"),
        alt or true,
        true if alt else (),
        relation=easyedit.relation_of(place, record),
        lang=lang or named_language(place, record),
        name=easyedit.id_of(place, record),
        literal=True,
        strict=strict,
    )
    questions, unanswered = [], 0
    local, right = look(record, "loc")[1], look(record, "loc_ans")[1]
    for _, prompt, said in easyedit.pairs(place, "", local, right, "loc") if local is not None else ():
        prompt = prompt[len(NQ) :].strip() if prompt.lower().startswith(NQ) else prompt
        if prompt and said:
            rivals = (edit.target,)
            questions.append(
                Question("neighbour", question(prompt), said[0], said[1:], said[0], rivals, "", edit.lang, "", "loc")
            )
        else:
            unanswered += 1
    return easyedit.with_groups(place, record, edit._replace(unanswered=unanswered), *questions)
