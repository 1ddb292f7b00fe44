"""A user's own facts, from a JSON file (a list of records, or one record) or a JSONL file (one record a line).

A record:
    {"prompt": "{} comes from", "subject": "Brie", "target": "Spain", "old": "France",
     "paraphrases": ["The home of {} is"], "same_subject": [{"prompt": "{} is a kind of", "answer": "cheese"}],
     "neighbours": [{"prompt": "Camembert comes from", "answer": "France"}],
     "cross_lingual": [{"prompt": "Le {} vient d'", "target": "Espagne", "old": "France", "lang": "fr"}],
     "candidates": ["France", "Spain", "Italy"], "lang": "en"}
Only prompt, subject and target are needed; a record without them is left out and counted. A prompt may hold the subject
itself instead of `{}`. Candidates are for the questions that share the record's language; where none are given, things
of the answer's kind stand in ("Spain": the countries we know), else all answers of the file (at most POOL, drawn).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.cases import Case, Probe
from benchmarks.datasets.reading.case_set import CaseSet, readings_of
from benchmarks.datasets.reading.drafts import choose, collect
from benchmarks.datasets.reading.fields import (
    check_open,
    located,
    look,
    named_language,
    objects,
    optional_text,
    prior,
    repeated,
    slotted,
    text_at,
    texts_at,
)
from benchmarks.datasets.reading.names import Spellings, fold, mentions
from benchmarks.datasets.reading.records import Place, Record
from benchmarks.datasets.reading.sources import DataFile
from benchmarks.datasets.reading.values import Row
from benchmarks.world import LANGS, draw_candidates, knowledge
from editing.text import EditRequest, escaped, fill, language_of_text

DESCRIPTION = "your own facts: fact_file:PATH, JSON or JSONL records with prompt, subject, target"
M = 20
POOL = 1000
TEXTS = ("prompt", "subject", "target", "old", "lang")
QUESTIONS = ("cross_lingual", "neighbours", "same_subject")  # lists of objects
LISTS = ("paraphrases", "candidates", *QUESTIONS)


@dataclass(frozen=True)
class Other:
    """Another prompt of a record with what is right there; `old` is what was true before, `lang` of the prompt."""

    prompt: str
    answer: str
    old: str
    lang: str


@dataclass(frozen=True)
class Fact:
    """A checked record: prompts have `{}` for the subject."""

    record: int
    prompt: str
    subject: str
    target: str
    old: str
    lang: str
    named: bool
    mentions: int
    candidates: tuple[str, ...]
    paraphrases: tuple[str, ...]
    others: dict[str, list[Other]] = field(default_factory=dict)  # by key of the record
    unasked: int = 0

    def answers(self) -> Iterator[tuple[str, str]]:
        """(language, answer) of everything that the record answers, in the order written."""
        yield from ((self.lang, self.target), (self.lang, self.old))
        for other in (one for key in QUESTIONS for one in self.others[key]):
            yield other.lang, other.answer
            yield other.lang, other.old


def recognises(record: Record) -> bool:
    """Whether the record is of this form: it has the needed keys, lists are lists, and there are no other keys or there
    is a list of objects that only this form has."""
    if isinstance(record, Row) or not {"prompt", "subject", "target"} <= set(record):
        return False
    questions = [part for key in QUESTIONS if isinstance(record.get(key), list) for part in record[key]]
    known = any(isinstance(part, dict) for part in questions) or set(record) <= {*TEXTS, *LISTS}
    return known and all(isinstance(record[key], list) for key in LISTS if key in record)


def read(file: DataFile, seed: int = 0, limit: int | None = None) -> CaseSet:
    """The file's cases, in its order, and what was left out.

    Raises:
        BadData: the file cannot be read, or none of its records can be used.
    """
    facts, bad = collect(str(file.path), file.records, _fact)
    pools: dict[str, dict[str, None]] = {}
    for lang, answer in (pair for fact in facts for pair in fact.answers() if pair[1]):
        pools.setdefault(lang, {})[answer] = None
    by_lang = {lang: list(answers) for lang, answers in pools.items()}
    unasked: Counter[str] = Counter({"without their text or an answer": sum(fact.unasked for fact in facts)})

    def case(fact: Fact) -> Case:
        made = _case(Place(str(file.path), fact.record), fact, by_lang, seed)
        edited = fill(fact.prompt, fact.subject)
        reasons = [repeated(probe.kind, probe.prompt, edited) for probe in made.probes]
        unasked.update(filter(None, reasons))
        return replace(made, probes=tuple(probe for probe, why in zip(made.probes, reasons, strict=True) if not why))

    case_set = choose(file, facts, case, bad, len(file.records), seed, limit, (), unasked)
    return replace(case_set, readings=tuple(readings_of(facts)))


def _fact(place: Place, record: Record) -> Fact:
    subject, target = text_at(place, record, "subject").strip(), text_at(place, record, "target").strip()
    old, lang = optional_text(place, record, "old"), named_language(place, record)
    if old and fold(old) == fold(target):
        place.refuse("'target' equals 'old'", "give another target: an edit must change something")
    prompt = slotted(place, text_at(place, record, "prompt"), subject, "prompt")[0]
    check_open(place, "prompt", prompt, target, old)
    count = len(mentions(fill(prompt, subject), subject))
    named, lang = bool(lang), lang or language_of_text(fill(prompt, ""))
    others, unasked = {}, 0
    for key in QUESTIONS:
        answer_key, other_lang = (
            ("target", "fr" if lang == "en" else "en") if key == "cross_lingual" else ("answer", lang)
        )
        parts = objects(place, look(record, key)[1], key)
        whole = [part for part in parts if look(part, "prompt")[1] and look(part, answer_key)[1]]
        unasked += len(parts) - len(whole)
        others[key] = [
            Other(
                _template(text_at(place, part, "prompt", under=f"{key}."), subject),
                text_at(place, part, answer_key, under=f"{key}.").strip(),
                optional_text(place, part, "old"),
                named_language(place, part) or other_lang,
            )
            for part in whole
        ]
    paraphrases = [slotted(place, said, subject, "paraphrases")[0] for said in texts_at(place, record, "paraphrases")]
    candidates = tuple(said.strip() for said in texts_at(place, record, "candidates"))
    extra = (candidates, tuple(paraphrases), others, unasked)
    return Fact(place.record, prompt, subject, target, old, lang, named, count, *extra)


def _template(prompt: str, subject: str) -> str:
    """A further prompt as a template; one that does not name the subject is evaluated as it stands."""
    template = located(prompt, subject)
    return escaped(prompt) if template is None else template[0]


def _pool(fact: Fact, pools: dict[str, list[str]], answer: str, lang: str, seed: str) -> Sequence[str]:
    """What a question may choose from: the record's own list, else things of the answer's kind that the world knowledge
    names ("Spain": countries), else answers of the file in that language."""
    if fact.candidates and fact.lang == lang:
        return fact.candidates
    if lang in LANGS:
        known = knowledge()
        kinds = [entity.kind for entity in known.entities if entity.word.name(lang) == answer]
        if kinds:
            return [entity.word.name(lang) for entity in known.entities if entity.kind == kinds[0]]
    pool = pools[lang]
    return pool if len(pool) <= POOL else random.Random(seed).sample(pool, POOL)


def _case(place: Place, fact: Fact, pools: dict[str, list[str]], seed: int) -> Case:
    subject, target, old, lang = fact.subject, fact.target, fact.old, fact.lang
    case_id = f"fact:{fact.record}:{subject}"

    def probe(kind: str, prompt: str, answer: str, before: str, of: str, rival: str = "") -> Probe:
        spellings = Spellings()
        answer, before, rival = (spellings.first(text) for text in (answer, before, rival))
        if before == answer and kind not in ("neighbour", "same_subject"):
            place.refuse(f"{kind} is answered {answer!r:.80} before and after", "leave that question out")
        must = [text for text in (answer, before, rival) if text]
        draw = f"{case_id}/{answer}"
        size = max(M, len(fact.candidates))
        candidates = draw_candidates(map(spellings.first, _pool(fact, pools, answer, of, draw)), must, size, draw)
        if len(candidates) < 2:
            place.refuse(f"{kind} has only the answer {answer!r} to choose from", "add 'old' or 'candidates'")
        at = candidates.index(before) if before else None
        text = fill(prompt, subject)
        against = candidates.index(rival) if rival and rival != answer else None
        return Probe(
            kind, text, candidates, candidates.index(answer), at, prior(prompt, of), of, (), subject, rival=against
        )

    probes = [probe("efficacy", fact.prompt, target, old, lang)]
    probes += [probe("paraphrase", said, target, old, lang) for said in fact.paraphrases]
    probes += [probe("cross_lingual", a.prompt, a.answer, a.old, a.lang) for a in fact.others["cross_lingual"]]
    for key, kind in (("neighbours", "neighbour"), ("same_subject", "same_subject")):
        for a in fact.others[key]:
            rival = target if a.lang == lang and kind == "neighbour" else ""
            probes.append(probe(kind, a.prompt, a.answer, a.answer, a.lang, rival))
    request = EditRequest(case_id, (fact.prompt,), subject, (target,), "subject_last", lang)
    return Case(case_id, "fact", request, tuple(probes), subject, fact.prompt, "fact_file", seed)
