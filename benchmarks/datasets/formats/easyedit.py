"""KnowEdit and the other JSON files of EasyEdit: edits with rephrased, locality and portability questions.

A record of KnowEdit (Zhang et al. 2024, arXiv:2401.01286), with every key but the first three optional:
    {"prompt": ..., "subject": ..., "target_new": ..., "ground_truth": ..., "rephrase_prompt": ...,
     "portability": {"Reasoning": [{"prompt": ..., "ground_truth": [["Europe", "Old Continent"]]}]},
     "locality": {"Relation_Specificity": [{"prompt": ..., "ground_truth": ...}]}}
EasyEdit's flat form has `locality_prompt` and `locality_ground_truth` (texts or lists) instead, and the same for
`portability`; WikiBio calls prompt, subject and target_new `text`, `concept` and `labels`.

zsRE's portability, `{"New Question": ..., "New Answer": ...}`, is read in every form. A question without a text or an
answer, or one of several questions that are not as many as their answers, is not evaluated and counted.

Groups become probe kinds by their names: aliases are `alias`, reasoning, hops and zsRE's question `multi_hop`, other
portability `relation`; locality is `same_subject` where the subject is in the question, `neighbour_plus` for
distractors, else `neighbour`.
`Forgetfulness` asks for the old objects of a relation with many: the target is right as well, so it is no candidate
there.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.datasets.formats import fact_file, facts_table
from benchmarks.datasets.reading.case_set import CaseSet
from benchmarks.datasets.reading.drafts import Draft, Question, ask, draft, keep, read_file
from benchmarks.datasets.reading.fields import (
    answers,
    answers_at,
    check_slots,
    fold,
    items_of,
    look,
    named_language,
    optional_text,
    sub_objects,
    text,
    text_at,
    texts_at,
)
from benchmarks.datasets.reading.names import mentions
from benchmarks.datasets.reading.records import Place, Record, type_name
from benchmarks.datasets.reading.sources import DataFile, Source
from benchmarks.datasets.reading.values import is_missing

DESCRIPTION = "KnowEdit and EasyEdit JSON (easyedit:PATH): prompt, target_new, locality, portability"
SOURCE = Source(  # the hub's newest commit: the checksum alone says which file it is
    "https://huggingface.co/datasets/zjunlp/KnowEdit",
    "MIT",
    "https://huggingface.co/datasets/zjunlp/KnowEdit/resolve/main/benchmark/wiki_counterfact/test_cf.json",
    "efc01ba398dfe04975939f729aab45523addb3c6b3cf41d7429ba5de1d45225b",
)
PROMPTS = ("prompt", "text", "src", "edit_prompt")
SUBJECTS = ("subject", "concept")
TARGETS = ("target_new", "labels", "target_false", "new_target", "edit_target", "alt", "target")
OLDS = ("ground_truth", "target_true", "target_old", "old", "true", "answers")
REPHRASES = (
    *("rephrase_prompt", "rephrase_prompts", "rephrase", "rephrases", "rephrased_prompt"),
    *("paraphrase_prompts", "paraphrases"),
)
QUESTIONS = ("prompt", "question", "text", "loc", "New Question")
ANSWERS = ("ground_truth", "answer", "answers", "target", "loc_ans", "New Answer")
FORGETFUL = "forget"


def recognises(record: Record) -> bool:
    """Whether the record is of this form; CounterFact's flat one has another module."""
    own = fact_file.recognises(record) or facts_table.recognises(record)
    named = any(key in record for key in PROMPTS) and any(key in record for key in TARGETS if key != "alt") and not own
    flat = "locality_ground_truth" in record and "case_id" in record and "portability" not in record
    return named and not flat and "requested_rewrite" not in record and not sub_objects(record)


def read(file: DataFile, seed: int = 0, limit: int | None = None) -> CaseSet:
    """The file's cases and what was left out.

    Raises:
        BadData: the file cannot be read, or none of its records can be used.
    """
    return read_file("easyedit", file, lambda place, record: [parse(place, record)], seed, limit)


def parse(place: Place, record: Record, lang: str = "", strict: bool = True) -> Draft:
    """The edit of one record, with its questions. `lang` and `strict` as in `draft`; `lang` by default the record's."""
    return with_groups(place, record, parse_edit(place, record, lang, strict))


def with_groups(place: Place, record: Record, edit: Draft, *questions: Question) -> Draft:
    """The edit with its paraphrases, `questions`, and what the record holds under `portability` and `locality`."""
    rephrased = texts_at(place, record, *REPHRASES)
    check_slots(place, look(record, *REPHRASES)[0], rephrased)
    every = [ask(edit, "paraphrase", prompt) for prompt in rephrased] + list(questions)
    unanswered = edit.unanswered
    for what, make in (("portability", _portability), ("locality", _locality)):
        for name, prompt, said in grouped(place, record, what):
            if prompt and said:
                every.append(make(edit, name, prompt, said))
            else:
                unanswered += 1
    return edit._replace(questions=tuple(every), unanswered=unanswered)


def parse_edit(place: Place, record: Record, lang: str = "", strict: bool = True) -> Draft:
    """The edit of one record, without questions."""
    return draft(
        place,
        look(record, *PROMPTS)[0],
        text_at(place, record, *PROMPTS),
        text_at(place, record, *SUBJECTS),
        answers_at(place, record, *TARGETS),
        answers_at(place, record, *OLDS),
        relation=relation_of(place, record),
        lang=lang or named_language(place, record),
        name=id_of(place, record),
        literal=True,
        strict=strict,
    )


def relation_of(place: Place, record: Record) -> str:
    """The record's own name of its relation; empty when it has none."""
    return optional_text(place, record, "relation_id", "relation", "predicate_id", "rel")


def id_of(place: Place, record: Record) -> str:
    """The record's own id; empty when it has none."""
    return optional_text(place, record, "case_id", "id", "known_id", "uuid")


def grouped(place: Place, record: Record, what: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Group name, question and answers of everything `what` holds, in any form; empty ones where a part is missing.

    Args:
        what: locality or portability.
    """
    for key in (f"{what}_prompt", f"{what}_prompts"):
        prompts = look(record, key)[1]
        if prompts is not None:
            said = look(record, f"{what}_ground_truth", f"{what}_answer", f"{what}_answers")[1]
            yield from pairs(place, "", prompts, said, key)
    groups = look(record, what, f"{what}_inputs")[1]
    if groups is None:
        return
    if not isinstance(groups, dict) or look(groups, *QUESTIONS)[1] is not None:
        groups = {"": groups}
    for name, items in items_of(groups):
        for i, item in enumerate(items if isinstance(items, list) else [items], 1):
            where = f"{what}.{name:.60}[{i}]"
            if isinstance(item, dict):
                yield from pairs(place, name, look(item, *QUESTIONS)[1], look(item, *ANSWERS)[1], where)
            elif not is_missing(item):
                place.refuse(f"{where!r} is {type_name(item)}, not an object", 'write {"prompt": ...}')


def pairs(
    place: Place, name: str, prompts: object, said: object, key: str
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """`name`, question and answers of one question, or of as many as there are answers; else they have no answer."""
    if not isinstance(prompts, list) or len(prompts) == 1:
        prompts, each = prompts if isinstance(prompts, list) else [prompts], [said]
    else:
        each = said if isinstance(said, list) and len(said) == len(prompts) else [None] * len(prompts)
    for prompt, one in zip(prompts, each, strict=True):
        yield name, "" if is_missing(prompt) else text(place, prompt, key), answers(place, one, f"{key}: answer")


def _portability(edit: Draft, group: str, prompt: str, said: tuple[str, ...]) -> Question:
    low = group.lower()
    if "alias" in low:
        kind = "alias"
    else:  # a group without a name is the one that zsRE has: a question of one hop more
        kind = "multi_hop" if not low or any(part in low for part in ("reason", "hop", "composit")) else "relation"
    same = fold(said[0]) == fold(edit.target)
    question = keep(edit, kind, prompt, said, "" if same else f"{kind}:{edit.relation}")
    return question._replace(old=edit.old if same else "", rivals=())


def _locality(edit: Draft, group: str, prompt: str, said: tuple[str, ...]) -> Question:
    low = group.lower()
    own = "relation_spec" in low or mentions(prompt, edit.subject)
    if "distract" in low:
        kind = "neighbour_plus"
    else:
        kind = "same_subject" if own or FORGETFUL in low else "neighbour"
    alike = edit.old and fold(said[0]) == fold(edit.old)
    question = keep(edit, kind, prompt, said, "" if alike or kind != "same_subject" else f"{kind}:{edit.relation}")
    if kind == "neighbour_plus":  # the subject stands only in the sentence before the question
        question = question._replace(about="", prior="")
    if FORGETFUL in low:
        question = question._replace(rivals=(), aliases=(*question.aliases, edit.target))
    return question
