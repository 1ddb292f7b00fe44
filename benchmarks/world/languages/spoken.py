"""The world in other languages than English and French: the same entities and facts, with further names and templates.

What is true, and what every key is, stays: it comes from the English side (`knowledge`). Names of countries, cities,
languages and continents come from CLDR, everything else from LANG.toml. An entity without a name in the language of the
edits is left out with its facts; in another language no question is about it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from benchmarks.world.countries import cldr_city, straight
from benchmarks.world.facts import Entity, Fact, Relation
from benchmarks.world.languages.nouns import Chinese, German
from benchmarks.world.templates import Noun, Template, Word, expand
from editing.errors import BadRequest

MORE = ("de", "zh")  # languages beside English and French
ALL = ("en", "fr", *MORE)


@cache
def table(lang: str) -> dict[str, Any]:
    """LANG.toml."""
    return tomllib.loads(files("benchmarks.world.languages").joinpath(f"{lang}.toml").read_text("utf-8"))


@cache
def language_name(lang: str) -> str:
    """What a language is called in English, such as "German" for "de" (CLDR); the code itself where it is unknown."""
    from babel import Locale

    return Locale("en").languages.get(lang, lang)


def languages_of(argument: str) -> tuple[str, ...]:
    """The languages that "de-en-zh" names; empty for any other text."""
    parts = argument.split("-")
    return check_languages(parts) if len(parts) > 1 and all(part in ALL for part in parts) else ()


def check_languages(langs: Sequence[str]) -> tuple[str, ...]:
    """Different languages of ALL, that of the edits first.

    Raises:
        BadRequest: another one, or one twice.
    """
    for lang in langs:
        if lang not in ALL or list(langs).count(lang) > 1:
            raise BadRequest(f"languages {'-'.join(langs):.40}: write different ones of {', '.join(ALL)}, as en-zh")
    return tuple(langs)


def speaking(
    entities: Sequence[Entity], schema: Sequence[Relation], facts: Sequence[Fact], langs: Sequence[str]
) -> tuple[tuple[Entity, ...], tuple[Relation, ...], tuple[Fact, ...]]:
    """The parts of a world, with names, eliciting texts and templates in every one of `langs`."""
    capital_of = {fact.object: fact.subject.partition(":")[2] for fact in facts if fact.relation == "capital"}
    for lang in langs:
        if lang in MORE:
            entities = _named(entities, lang, capital_of)
            schema = [_said(relation, lang) for relation in schema]
    home = langs[0]
    kept = tuple(entity for entity in entities if home in entity.word.nouns)
    keys = {entity.key for entity in kept}
    return kept, tuple(schema), tuple(f for f in facts if f.subject in keys and f.object in keys)


def _said(relation: Relation, lang: str) -> Relation:
    texts = table(lang)["relations"].get(relation.name, ())
    return replace(relation, said={**relation.said, lang: tuple(Template(text, lang) for text in texts)})


def _named(entities: Sequence[Entity], lang: str, capital_of: Mapping[str, str]) -> list[Entity]:
    """Each entity with its name in `lang`, where it has one that no other entity of its kind bears."""
    taken: set[tuple[str, str]] = set()
    out = []
    for entity in entities:
        noun = _noun(entity, lang, capital_of)
        if noun is None or (entity.kind, noun.name) in taken:
            out.append(entity)
            continue
        taken.add((entity.kind, noun.name))
        entity = replace(entity, word=Word({**entity.word.nouns, lang: noun}))
        out.append(_elicited(entity, lang) if entity.kind == "concept" else entity)
    return out


def _noun(entity: Entity, lang: str, capital_of: Mapping[str, str]) -> Noun | None:
    if entity.kind == "concept":
        entry = table(lang)["concepts"].get(entity.key.partition(":")[2])
        if entry is None:
            return None
        if lang == "de":
            return German(entry["name"], entry["gender"], mass=not entity.word.en.a)
        return Chinese(entry["name"], entry["measure"])
    if entity.kind == "country":
        return _country(entity.key.partition(":")[2], lang)
    name = _answer(entity, lang, capital_of)
    return None if name is None else German(name, article=False) if lang == "de" else Chinese(name)


def _country(code: str, lang: str) -> Noun | None:
    from babel import Locale

    own = table(lang)["countries"]
    if code in own["leave_out"]:
        return None
    name = own["names"].get(code) or straight(Locale(lang).territories[code])
    if lang == "zh":
        return Chinese(name, proper=True)
    return German(name, own["gender"].get(code, "n"), article=code in own["gender"])


def _answer(entity: Entity, lang: str, capital_of: Mapping[str, str]) -> str | None:
    """The bare name of an answer."""
    from babel import Locale

    english, kind = entity.word.en.name, entity.kind
    if kind == "city":
        name = table(lang)["cities"].get(english) or cldr_city(capital_of.get(entity.key, ""), lang)
        if name is None and lang == "de" and capital_of.get(entity.key):
            name = english if cldr_city(capital_of[entity.key], "en") else None  # CLDR: named as in English
        country = _country(capital_of[entity.key], lang) if name and entity.key in capital_of else None
        return None if country is not None and name is not None and name in country.name else name
    if kind == "language":
        return Locale(lang).languages.get(_tags().get(english, ""))
    if kind == "continent":
        numbers = {name: number for number, name in Locale("en").territories.items()}
        return Locale(lang).territories.get(numbers.get(english, ""))
    return table(lang)["vocabulary"].get(kind, {}).get(english)


@cache
def _tags() -> dict[str, str]:
    """English name of a language -> its tag."""
    from babel import Locale

    names = {straight(name): tag for tag, name in Locale("en").languages.items() if "_" not in tag}
    return names | {"Bengali": "bn"}


def _elicited(entity: Entity, lang: str) -> Entity:
    """A concept with the texts that elicit its name, and their content-free twins."""
    entry, frames = table(lang)["concepts"][entity.key.partition(":")[2]], table(lang)["elicit"]
    texts, priors = [], []
    for frame in frames["frames"]:
        texts.append(_filled(frame["text"], entry["define"][frame["definition"]], entity.word, lang))
        priors.append(_filled(frame["text"], frames["empty"], entity.word, lang))
    texts.append(entry["cloze"])
    priors.append(frames["cloze_prior"])
    elicit, prior = {**entity.elicit, lang: tuple(texts)}, {**entity.prior, lang: tuple(priors)}
    return replace(entity, elicit=elicit, prior=prior)


def _filled(frame: str, content: str, word: Word, lang: str) -> str:
    capital = content[:1].upper() + content[1:]
    return expand(frame.replace("<def>", content).replace("<Def>", capital), word, lang)


def translations(lang: str, other: str) -> tuple[str, ...]:
    """The ways to say in `lang` what a word is called in `other`; `{}` stands for the word."""
    own = table(lang)["translation"]
    return tuple(text.format(other=own[other]) for text in own["templates"])
