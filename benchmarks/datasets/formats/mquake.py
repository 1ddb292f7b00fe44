"""MQuAKE (Zhong et al. 2023, arXiv:2305.14795), CF, T and hard: edits judged by multi-hop questions.

    {"case_id": 1, "requested_rewrite": [{"prompt": ..., "subject": ..., "target_new": ..., "target_true": ...,
                                          "question": ...}],
     "questions": [...], "answer": ..., "answer_alias": [...], "new_answer": ..., "new_answer_alias": [...],
     "single_hops": [{"question": ..., "cloze": ..., "answer": ..., "answer_alias": [...]}],
     "new_single_hops": [...], "orig": ...}

A record with one rewrite is one case: its questions are `multi_hop`, the rewrite's own question a `paraphrase`, and the
other hops of the old chain, which the edit does not touch, are `neighbour` probes (facts about the other links of the
chain).

A record with several rewrites moves its answer only when all of them are made, and a case holds one. Each rewrite is
still a sound edit alone: it becomes a case with its question and the untouched hops, without the
multi-hop questions, which a note counts. The same rewrite in several records is one case, none where a record makes it
alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.datasets.formats import counterfact, easyedit
from benchmarks.datasets.reading.case_set import CaseSet
from benchmarks.datasets.reading.drafts import Draft, Question, ask, assemble, collect, keep
from benchmarks.datasets.reading.fields import (
    answers_at,
    fold,
    look,
    mapping,
    named_language,
    objects,
    text,
    text_at,
    texts_at,
)
from benchmarks.datasets.reading.names import mentions
from benchmarks.datasets.reading.records import Place, Record
from benchmarks.datasets.reading.sources import DataFile, Source

DESCRIPTION = "MQuAKE, CF, T and hard (mquake:PATH): multi-hop questions about edited facts"
SOURCE = Source(
    "https://github.com/princeton-nlp/MQuAKE, folder datasets",
    "MIT",
    "https://raw.githubusercontent.com/princeton-nlp/MQuAKE/fb43dadc2d8cd19d08ce81c63d957b59deb3f3cd/"
    "datasets/MQuAKE-CF-3k-v2.json",
    "f82091cbb668cef8f2537f79f1768af1840184450b347ff8c344336090ddc71e",
)


def recognises(record: Record) -> bool:
    """Whether the record is of this form."""
    return counterfact.REWRITE in record and ("questions" in record or "new_answer" in record)


def read(file: DataFile, seed: int = 0, limit: int | None = None) -> CaseSet:
    """The file's cases, in its order, and what was left out.

    Raises:
        BadData: the file cannot be read, or none of its records can be used.
    """
    unasked: list[int] = []

    def parse(place: Place, record: Record) -> list[Draft]:
        rewrites = objects(place, look(record, counterfact.REWRITE)[1], counterfact.REWRITE)
        if not rewrites:
            place.refuse(f"no {counterfact.REWRITE!r}", "say what to edit")
        if len(rewrites) == 1:
            return [alone(place, record, rewrites[0])]
        name = easyedit.id_of(place, record) or str(place.record)
        drafts = [part(place, record, request, f"{name}.{i}") for i, request in enumerate(rewrites, 1)]
        unasked.append(len(texts_at(place, record, "questions")))
        return drafts

    groups, bad = collect(str(file.path), file.records, parse)
    drafts = _different(groups)
    again = sum(map(len, groups)) - len(drafts)
    note = (
        f"{len(unasked)} records make several edits at once: each edit is a separate case "
        f"({again} that other records make too are not repeated), "
        f"their {sum(unasked)} multi-hop questions are not evaluated"
    )
    return assemble("mquake", file, drafts, bad, len(file.records), seed, limit, [note] if unasked else [])


def _different(groups: Sequence[Sequence[Draft]]) -> list[Draft]:
    """Every edit that a record makes alone, which has that record's questions, and each other edit once."""
    made = {_rewrite(group[0]) for group in groups if len(group) == 1}
    drafts: list[Draft] = []
    for group in groups:
        for one in group:
            if len(group) == 1 or _rewrite(one) not in made:
                made.add(_rewrite(one))
                drafts.append(one)
    return drafts


def _rewrite(one: Draft) -> tuple[str, str, str]:
    return one.prompt, one.subject, one.target


def part(place: Place, record: Record, request: Record, name: str) -> Draft:
    """One rewrite by itself: its own question, and the old chain's hops about other subjects."""
    edit = counterfact.rewrite(place, request, name, named_language(place, record))
    questions = [ask(edit, "paraphrase", said) for said in texts_at(place, request, "question")]
    for i, link in enumerate(objects(place, look(record, "single_hops")[1], "single_hops"), 1):
        prompt = text_at(place, link, "cloze", "question", under=f"single_hops[{i}].")
        if mentions(prompt, edit.subject):  # the edited fact itself, or one that the edited subject shares
            continue
        said = _answers(place, link, "answer", f"single_hops[{i}].")
        hop = keep(edit, "neighbour", prompt, said, _last(place, record, i - 1))
        questions.append(hop if hop.relation == edit.relation else hop._replace(rivals=()))
    return edit._replace(questions=tuple(questions))


def alone(place: Place, record: Record, request: Record) -> Draft:
    """The only rewrite of a record, with the record's questions of several hops."""
    edit = part(place, record, request, easyedit.id_of(place, record))
    new, old = _answers(place, record, "new_answer"), _answers(place, record, "answer")
    if fold(new[0]) == fold(old[0]):
        place.refuse(f"'new_answer' {new[0]!r:.80} is the old answer", "an edit must change something")
    relation = _last(place, record, -1)
    hops = tuple(
        Question("multi_hop", prompt, new[0], new[1:], old[0], lang=edit.lang, about=edit.subject, relation=relation)
        for prompt in texts_at(place, record, "questions")
    )
    return edit._replace(questions=(*edit.questions, *hops))


def _answers(place: Place, record: Record, key: str, under: str = "") -> tuple[str, ...]:
    """An answer with its aliases."""
    first = answers_at(place, record, key, under=under)
    if not first:
        place.refuse(f"{under + key!r} is missing", "write it out")
    aliases = answers_at(place, record, f"{key}_alias", f"{key}_aliases", under=under)
    return (*first, *(alias for alias in aliases if fold(alias) not in set(map(fold, first))))


def _last(place: Place, record: Record, hop: int) -> str:
    """The relation of one hop of the old chain, where the record has its triples."""
    triples = look(mapping(place, look(record, "orig")[1], "orig"), "triples")[1]
    if not isinstance(triples, list) or not -len(triples) <= hop < len(triples):
        return "hop"
    triple = triples[hop]
    named = isinstance(triple, list) and len(triple) == 3 and isinstance(triple[1], str)
    return text(place, triple[1], "orig.triples", 500) if named else "hop"
