"""CounterFact aligned with French names: edits made in one language and evaluated in both.

    {"case_id": 0, "relation": "P103", "ambiguous": false, "subject_qid": "Q234149",
     "en": {"subject": "Danielle Darrieux", "prompt": "The mother tongue of Danielle Darrieux is",
            "true": "French", "new": "English"},
     "fr": {"subject": "Danielle Darrieux", "true": "français", "new": "anglais"}}

`en_fr:PATH` edits the English prompt; `en_fr:PATH#fr` edits the French one. French prompts are our own (`_french.py`).
With `#templates=FOLDER`, mParaRel's folder of patterns, its English patterns are paraphrases; its French ones are not
used. `cross_lingual` asks in the other language; neighbours, in both, are subjects with the same true object and
relation. An ambiguous record (two relations fit its names) is left out: its French question might ask for the other
one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.datasets.formats import easyedit
from benchmarks.datasets.reading import french_labels as _french
from benchmarks.datasets.reading.case_set import CaseSet
from benchmarks.datasets.reading.drafts import Draft, Question, assemble, collect, draft
from benchmarks.datasets.reading.fields import fold, look, mapping, prior, slotted, text
from benchmarks.datasets.reading.patterns import Patterns
from benchmarks.datasets.reading.records import Place, Record
from benchmarks.datasets.reading.sources import DataFile, Source
from editing.errors import BadRequest
from editing.text import fill

DESCRIPTION = "CounterFact with French names (en_fr:PATH, en_fr:PATH#fr to edit in French)"
SOURCE = Source(
    "a join of CounterFact with the labels of mParaRel by English names, which you make yourself", "none stated"
)
OPTIONS = "#fr or #templates=FOLDER"
NEIGHBOURS = {"en": 6, "fr": 4}
PARAPHRASES = 4


@dataclass(frozen=True)
class Side:
    """One language of a fact: its prompts with `{}`, their subject-free prompts, and its names."""

    lang: str
    subject: str
    true: str
    new: str
    prompts: tuple[str, ...]
    priors: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """A fact in both languages."""

    place: Place
    id: str
    relation: str
    en: Side
    fr: Side


def recognises(record: Record) -> bool:
    """Whether the record is of this form."""
    en, fr = record.get("en"), record.get("fr")
    return isinstance(en, dict) and isinstance(fr, dict) and "true" in en and "new" in en and "prompt" not in fr


def read(file: DataFile, seed: int = 0, limit: int | None = None) -> CaseSet:
    """The file's cases, in its order, and what was left out.

    Raises:
        BadRequest: an unknown option.
        BadData: a file cannot be read, or none of its records can be used.
    """
    lang, patterns = "en", None
    for option in file.options:
        name, _, value = option.partition("=")
        if option in ("en", "fr"):
            lang = option
        elif name == "templates" and value:
            patterns = Patterns(Path(value).expanduser())
        else:
            raise BadRequest(f"en_fr: unknown option #{option:.60}; use {OPTIONS}")
    pairs, left = collect(str(file.path), file.records, lambda place, record: _pair(place, record, patterns))
    sharing: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        sharing.setdefault((pair.relation, fold(pair.en.true)), []).append(pair)
    drafts = [_draft(pair, lang, sharing[pair.relation, fold(pair.en.true)], seed) for pair in pairs]
    return assemble("en_fr", file, drafts, left, len(file.records), seed, limit)


def _pair(place: Place, record: Record, patterns: Patterns | None) -> Pair:
    if look(record, "ambiguous")[1]:
        place.refuse("'ambiguous': two relations fit its names", "name one relation and remove the key")
    relation = easyedit.relation_of(place, record)
    if relation not in _french.LABELS:
        place.refuse(
            f"no French question for relation {relation!r:.60}",
            "add it to benchmarks/datasets/reading/french_labels.py",
        )
    said = {
        lang: {
            key: text(place, look(mapping(place, look(record, lang)[1], lang), key)[1], f"{lang}.{key}", limit)
            for key, limit in (("subject", 500), ("true", 500), ("new", 500), ("prompt", 10_000))
            if key != "prompt" or lang == "en"
        }
        for lang in ("en", "fr")
    }
    for lang, names in said.items():
        if fold(names["true"]) == fold(names["new"]):
            place.refuse(f"'{lang}.new' {names['new']!r:.80} is the old answer", "an edit must change something")
    template, subject = slotted(place, said["en"]["prompt"], said["en"]["subject"], "en.prompt")
    more = patterns.of(relation, "en")[:PARAPHRASES] if patterns else ()
    prompts = tuple(dict.fromkeys((template, *more)))
    english = Side(
        "en", subject, said["en"]["true"], said["en"]["new"], prompts, tuple(prior(p, "en") for p in prompts)
    )
    french = tuple(_french.frames(relation, said["fr"]["subject"]))
    return Pair(
        place,
        easyedit.id_of(place, record),
        relation,
        english,
        Side(
            "fr",
            **{k: said["fr"][k] for k in ("subject", "true", "new")},
            prompts=french,
            priors=(_french.prior(relation),) * len(french),
        ),
    )


def _draft(pair: Pair, lang: str, sharing: list[Pair], seed: int) -> Draft:
    home, away = (pair.en, pair.fr) if lang == "en" else (pair.fr, pair.en)
    key = f"{lang}.prompt"
    edit = draft(
        pair.place, key, home.prompts[0], home.subject, (home.new,), (home.true,), pair.relation, lang, pair.id
    )
    questions = [_question("paraphrase", home, i) for i in range(1, len(home.prompts))]
    questions += [_question("cross_lingual", away, i) for i in range(len(away.prompts))]
    rng = random.Random(f"{seed}/{pair.id}")
    others = rng.sample(sharing, min(len(sharing), 2 * max(NEIGHBOURS.values())))
    near = [other for other in others if fold(other.en.subject) != fold(pair.en.subject)]
    for other_lang, most in NEIGHBOURS.items():
        for i, other in enumerate(near[:most]):
            side, edited = (other.en, pair.en) if other_lang == "en" else (other.fr, pair.fr)
            question = _question("neighbour", side, i % len(side.prompts) if other_lang == "fr" else 0)
            questions.append(question._replace(answer=side.true, old=side.true, rivals=(edited.new, edited.true)))
    return edit._replace(prior=home.priors[0], questions=tuple(questions))


def _question(kind: str, side: Side, which: int) -> Question:
    return Question(
        kind=kind,
        prompt=fill(side.prompts[which], side.subject),
        answer=side.new,
        old=side.true,
        prior=side.priors[which],
        lang=side.lang,
        about=side.subject,
    )
