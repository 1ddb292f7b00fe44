"""Reads the concept suite (`concepts.toml`, `suite/*.toml`) and checks it, so that a slip names its concept and key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from benchmarks.world.facts import Entity, Fact, Relation
from benchmarks.world.french import Noun
from benchmarks.world.sources import Part, load_relations, read_toml, slug
from benchmarks.world.templates import English, Word, expand
from editing.errors import BadData

KEYS = ("en", "fr", "gender", "count", "define_en", "cloze_en", "define_fr", "cloze_fr")
EDIT_PROMPTS = 4  # the first eliciting prompts in English are for the edit, the rest are held out


def upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def elicitations(
    entry: Mapping[str, Any], frames: Mapping[str, Any], word: Word, lang: str
) -> tuple[tuple[str, str], ...]:
    """(text, its content-free prior) pairs whose right continuation is the bare name of `word`.

    A frame holds `<def>` (`<Def>` opens the sentence) and article markers; the frame list says which of the concept's
    definitions it takes. English frames numbered below EDIT_PROMPTS use other definitions than the held-out ones. The
    concept's own cloze sentence comes last.
    """
    out = []
    empty = frames[f"empty_{lang}"]
    for frame in frames[f"frames_{lang}"]:
        text, which = frame["text"], frame["definition"]

        def fill(content: str, text: str = text) -> str:
            return expand(text.replace("<def>", content).replace("<Def>", upper(content)), word, lang).strip()

        out.append((fill(entry[f"define_{lang}"][which]), fill(empty)))
    out.append((expand(entry[f"cloze_{lang}"], word, lang).strip(), frames[f"cloze_prior_{lang}"]))
    return tuple(out)


def _check(where: str, entry: Mapping[str, Any], relations: Mapping[str, Relation]) -> None:
    """Raises `BadData` for the first slip in one concept's entry."""
    for key in KEYS:
        if key not in entry:
            raise BadData(f"{where}: no {key!r}; add it")
    for key in entry:
        if key not in KEYS and key not in relations:
            raise BadData(f"{where}: unknown key {key!r}; use one of {', '.join((*KEYS, *relations))}")
    for lang, least in (("en", 3), ("fr", 2)):
        texts = entry[f"define_{lang}"]
        if len(texts) < least or len(set(texts)) != len(texts):
            raise BadData(f"{where}: needs {least} different define_{lang}")
        for text in (*texts, entry[f"cloze_{lang}"]):
            if re.search(rf"\b{re.escape(entry[lang].lower())}s?\b", text.lower()):
                raise BadData(f"{where}: {text!r} gives the name away; describe it without")


def _concept(entry: Mapping[str, Any], kind: str, frames: Mapping[str, Any]) -> Entity:
    count = entry["count"]
    word = Word(English(entry["en"], the=count, a=count), Noun(entry["fr"], entry["gender"], mass=not count))
    en, fr = (elicitations(entry, frames, word, lang) for lang in ("en", "fr"))
    return Entity(
        f"concept:{slug(entry['en'])}",
        word,
        kind,
        tuple(text for text, _ in en),
        tuple(text for text, _ in fr),
        tuple(prior for _, prior in en),
        tuple(prior for _, prior in fr),
    )


def load_concepts() -> Part:
    """The concept suite.

    Raises:
        BadData: a missing or unknown key, too few definitions, a text that holds the name, an unknown attribute.
    """
    suite = read_toml("concepts.toml")
    schema = load_relations("concept")
    relations = {relation.name: relation for relation in schema}
    entities: list[Entity] = []
    for kind, words in suite["vocabulary"].items():
        for en, fr in words.items():
            entities.append(Entity(f"{kind}:{slug(en)}", Word(English(en), Noun(fr, article=False))))
    known = {entity.key for entity in entities}
    facts: list[Fact] = []
    for kind, category in suite["types"].items():
        for entry in read_toml(f"suite/{kind}.toml")["concept"]:
            where = f"suite/{kind}.toml: concept {entry.get('en', '?')!r}"
            _check(where, entry, relations)
            concept = _concept(entry, kind, suite["elicit"])
            entities.append(concept)
            for relation in schema:
                answer = category if relation.name == "category" else entry.get(relation.name)
                if answer is None:
                    continue
                target = f"{relation.object_kind}:{slug(answer)}"
                if target not in known:
                    raise BadData(f"{where}: {answer!r} is no {relation.name}; add it to concepts.toml")
                facts.append(Fact(concept.key, relation.name, target))
    return Part(tuple(entities), schema, tuple(facts))
