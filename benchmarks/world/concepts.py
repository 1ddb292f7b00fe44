"""Concepts from their entries: what an entry may say, and the eliciting texts made of it. Of the suite
(`concepts.toml`, `suite/*.toml`) and of a file of one's own (`own_concepts.py`) alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.world.facts import LANGS, Entity, Fact, Relation
from benchmarks.world.french import Noun
from benchmarks.world.sources import Part, load_relations, read_toml, slug
from benchmarks.world.templates import Bare, English, Word, bilingual, expand
from editing.errors import BadData

EDIT_PROMPTS = 4  # the first eliciting prompts of the edit's language are for the edit, the rest are held out
LEAST_DEFINITIONS = (3, 2)  # in the edit's language, in another one
NEUTRAL = "any"  # frames for a language that has none
# Scripts written without blanks: a name can only be sought as a piece of text there.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


@dataclass(frozen=True)
class Form:
    """What entries may say.

    Attributes:
        langs: the languages, that of the edits first.
        relations: by name; their names are the keys of a concept's attributes.
        elicit: the frames of eliciting texts, as in `concepts.toml`.
    """

    langs: tuple[str, ...]
    relations: Mapping[str, Relation]
    elicit: Mapping[str, Any]

    @property
    def keys(self) -> tuple[str, ...]:
        texts = [f"{what}_{lang}" for lang in self.langs for what in ("define", "cloze")]
        return (*self.langs, "type", "gender", "count", "proper", *texts, *self.relations)


def suite_tables() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The head of the suite (types, vocabulary, elicit), and its concepts with their `type`."""
    head = read_toml("concepts.toml")
    entries = [{"type": kind} | entry for kind in head["types"] for entry in read_toml(f"suite/{kind}.toml")["concept"]]
    return head, entries


def load_concepts() -> Part:
    """The concept suite.

    Raises:
        BadData: a missing or unknown key, too few definitions, a text that holds the name, an unknown attribute.
    """
    head, entries = suite_tables()
    schema = load_relations("concept")
    form = Form(LANGS, {relation.name: relation for relation in schema}, head["elicit"])
    entities: list[Entity] = []
    for kind, words in head["vocabulary"].items():
        for en, fr in words.items():
            entities.append(Entity(f"{kind}:{slug(en)}", bilingual(English(en), Noun(fr, article=False))))
    known = {entity.key for entity in entities}
    facts: list[Fact] = []
    for entry in entries:
        where = f"suite/{entry['type']}.toml: concept {entry.get('en', '?')!r}"
        check_entry(where, entry, form)
        concept = make_concept(f"concept:{slug(entry['en'])}", entry, form)
        entities.append(concept)
        for name, answer in attributes(entry, form, head["types"]):
            target = f"{form.relations[name].object_kind}:{slug(answer)}"
            if target not in known:
                raise BadData(f"{where}: {answer!r} is no {name}; add it to concepts.toml")
            facts.append(Fact(concept.key, name, target))
    return Part(tuple(entities), schema, tuple(facts))


def attributes(entry: Mapping[str, Any], form: Form, types: Mapping[str, str]) -> list[tuple[str, str]]:
    """(relation, name of the object) of an entry, in the order of the relations; the category comes from its type."""
    stated = {"category": types[entry["type"]]} if entry.get("type") in types else {}
    stated |= {name: entry[name] for name in form.relations if name in entry}
    return [(name, stated[name]) for name in form.relations if name in stated]


def check_entry(where: str, entry: Mapping[str, Any], form: Form) -> None:
    """Refuse the first slip in one concept's entry.

    Raises:
        BadData: no name in the edits' language, an unknown key, a French name without gender, too few definitions,
            one without the cloze sentence, a text that holds the name.
    """
    home = form.langs[0]
    if not str(entry.get(home, "")).strip():
        raise BadData(f"{where}: no {home!r}; write the name in that language, it is that of the edits")
    for key in entry:
        if key not in form.keys:
            raise BadData(f"{where}: unknown key {key!r}; use one of {', '.join(form.keys)}")
    if "fr" in entry and not entry.get("proper") and entry.get("gender") not in ("m", "f"):
        raise BadData(f'{where}: no \'gender\' of {entry["fr"]!r}; write gender = "m" or "f"')
    for lang, least in zip(
        form.langs, (LEAST_DEFINITIONS[0], *(LEAST_DEFINITIONS[1],) * len(form.langs)), strict=False
    ):
        texts, cloze = entry.get(f"define_{lang}"), entry.get(f"cloze_{lang}")
        if texts is None and cloze is None:
            continue
        if lang not in entry:
            raise BadData(f"{where}: texts in {lang} but no {lang!r}; write the name in that language")
        if texts is None or len(texts) < least or len(set(texts)) != len(texts):
            raise BadData(
                f"{where}: define_{lang} needs {least} different texts; add some, or leave out cloze_{lang} too"
            )
        if cloze is None:
            raise BadData(f"{where}: no 'cloze_{lang}'; write one sentence that ends right before the name")
        for text in (*texts, cloze):
            if holds(entry[lang], text):
                raise BadData(f"{where}: {text!r} gives the name away; describe it without")


def holds(name: str, text: str) -> bool:
    """Whether `text` has `name` (or its plural in s) as a whole word, in any case."""
    pattern = re.escape(name.casefold())
    if not UNSPACED.search(name):
        pattern = rf"(?<!\w){pattern}s?(?!\w)"
    return re.search(pattern, text.casefold()) is not None


def make_concept(key: str, entry: Mapping[str, Any], form: Form) -> Entity:
    """One concept of its entry, which `check_entry` has passed."""
    word = _word(entry, form.langs)
    texts = {lang: _elicitations(entry, form.elicit, word, lang) for lang in form.langs if f"define_{lang}" in entry}
    return Entity(
        key,
        word,
        entry.get("type", ""),
        {lang: tuple(text for text, _ in pairs) for lang, pairs in texts.items()},
        {lang: tuple(prior for _, prior in pairs) for lang, pairs in texts.items()},
    )


def asked_by(entry: Mapping[str, Any], definition: str, lang: str) -> tuple[str, str]:
    """The first eliciting text, with its prior, that a definition not yet in the entry would give; in `lang` of the
    suite."""
    elicit = read_toml("concepts.toml")["elicit"]
    word = _word(entry, (lang,))
    entry = {**entry, f"define_{lang}": [definition], f"cloze_{lang}": ""}
    text, prior = _elicitations(entry, elicit, word, lang)[0]
    return text, prior


def _word(entry: Mapping[str, Any], langs: tuple[str, ...]) -> Word:
    proper = entry.get("proper", False)
    count = entry.get("count", True) and not proper
    nouns: dict[str, English | Noun | Bare] = {lang: Bare(entry[lang]) for lang in langs if lang in entry}
    if "en" in nouns:
        nouns["en"] = English(entry["en"], the=count, a=count)
    if "fr" in nouns:
        nouns["fr"] = Noun(entry["fr"], entry.get("gender", "m"), mass=not count, article=not proper)
    return Word(nouns)


def _elicitations(
    entry: Mapping[str, Any], elicit: Mapping[str, Any], word: Word, lang: str
) -> tuple[tuple[str, str], ...]:
    """(text, its content-free prior) pairs whose right continuation is the bare name of `word`.

    A frame holds `<def>` (`<Def>` opens the sentence) and article markers; the frame list says which of the concept's
    definitions it takes. Frames of the edit's language numbered below EDIT_PROMPTS use other definitions than the
    held-out ones. The concept's own cloze sentence comes last. Proper names have frames of their own; a language
    without frames has neutral ones, whose prior is empty: no correction.
    """
    out = []
    names = (f"proper_{lang}", lang, NEUTRAL) if entry.get("proper") else (lang, NEUTRAL)
    kind = next(name for name in names if f"frames_{name}" in elicit)
    empty, texts = elicit.get(f"empty_{lang}", ""), entry[f"define_{lang}"]
    for frame in elicit[f"frames_{kind}"]:
        if frame["definition"] >= len(texts):
            continue
        prior = "" if kind == NEUTRAL else _filled(frame["text"], empty, word, lang)
        out.append((_filled(frame["text"], texts[frame["definition"]], word, lang), prior))
    out.append((expand(entry[f"cloze_{lang}"], word, lang).strip(), elicit.get(f"cloze_prior_{lang}", "")))
    return tuple(out)


def _filled(frame: str, content: str, word: Word, lang: str) -> str:
    capital = content[:1].upper() + content[1:]
    return expand(frame.replace("<def>", content).replace("<Def>", capital), word, lang).strip()
