"""Knowledge from a file of one's own concepts. Where its first language is English, the concepts of the suite stand
beside them: as siblings, as goals of a retargeting, as further answers to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.world.concept_file import read_concept_file
from benchmarks.world.concepts import NEUTRAL, Form, attributes, check_entry, load_concepts, make_concept, suite_tables
from benchmarks.world.facts import LANGS, Entity, Fact, Relation
from benchmarks.world.french import Noun
from benchmarks.world.knowledge import Knowledge
from benchmarks.world.sources import LANGUAGE, Part, load_relations, slug
from benchmarks.world.templates import Bare, English, Template, Word
from editing.errors import BadData


def own_knowledge(path: str | Path) -> Knowledge:
    """The concepts of a file, and with an English file those of the suite that it does not describe itself.

    Raises:
        BadData: the file is not as `ConceptFile` and `check_entry` say, or two of its concepts share a name.
    """
    return knowledge_of(read_concept_file(path), str(path))


def knowledge_of(file: Mapping[str, Any], where: str) -> Knowledge:
    """The knowledge of a file that has been read; `where` stands in front of what is wrong with it."""
    langs = tuple(file["languages"])
    head, _ = suite_tables()
    schema = _schema(file["relations"], langs, where)
    form = Form(langs, {relation.name: relation for relation in schema}, head["elicit"] | file["elicit"])
    types = head["types"] | file["types"] if langs[0] == LANGS[0] else file["types"]
    concepts: list[Entity] = []
    stated: list[tuple[str, str, str]] = []
    _check_elicit(file["elicit"], langs, where)
    for number, entry in enumerate(file["concept"], 1):
        other = next((entry[lang] for lang in langs if lang in entry), "")
        name = f"{where}: concept {entry.get(langs[0], other)!r:.60}" if other else f"{where}: concept {number}"
        _check_values(name, entry, form)
        check_entry(name, entry, form)
        try:
            concept = make_concept(f"concept:{_key(entry[langs[0]])}", entry, form)
        except BadData as error:  # a marker that is none, in a definition
            raise BadData(f"{name}: {error}") from error
        if any(concept.key == other.key for other in concepts):
            raise BadData(f"{name}: described twice; leave one of the entries out")
        concepts.append(concept)
        stated += [(concept.key, relation, answer) for relation, answer in attributes(entry, form, types)]
    base = load_concepts() if langs[0] == LANGS[0] else Part((), (), ())
    own = tuple(concept.key for concept in concepts)
    entities = {entity.key: entity for entity in base.entities if entity.key not in own}
    kinds = {relation.object_kind for relation in schema}
    for kind, words in file["vocabulary"].items():
        if kind not in kinds:
            raise BadData(
                f"{where}: vocabulary.{kind}: no relation has answers of that kind; use {', '.join(sorted(kinds))}"
            )
        named: dict[str, str] = {}
        for name, others in words.items():
            if (other := named.setdefault(_key(name), name)) != name:
                raise BadData(
                    f"{where}: vocabulary.{kind}: {other!r:.60} and {name!r:.60} are one answer; leave one out"
                )
            entities[f"{kind}:{_key(name)}"] = _answer(kind, name, others, langs)
    facts = [fact for fact in base.facts if fact.subject not in own]
    for subject, relation, answer in stated:
        key = f"{form.relations[relation].object_kind}:{_key(answer)}"
        entities.setdefault(key, _answer(form.relations[relation].object_kind, answer, {}, langs))
        facts.append(Fact(subject, relation, key))
    entities |= {concept.key: concept for concept in concepts}
    try:
        return Knowledge(tuple(entities.values()), schema, tuple(facts), langs=langs, own=own)
    except BadData as error:
        raise BadData(f"{where}: {error}") from error


def _key(name: str) -> str:
    """As in the suite for plain names; a name with other signs is its own key, so that C++ and C# differ."""
    letters = name.replace(" ", "").replace("-", "")
    return slug(name) if letters.isascii() and letters.isalnum() else name.casefold()


def _schema(tables: Mapping[str, Any], langs: Sequence[str], where: str) -> tuple[Relation, ...]:
    """The relations of the suite, with the file's templates before theirs, and then the file's own."""
    schema = {relation.name: relation for relation in load_relations("concept")}
    for name, table in tables.items():
        said: dict[str, tuple[Template, ...]] = {}
        for lang, texts in table.items():
            if lang == "object":
                continue
            if lang not in langs:
                raise BadData(
                    f"{where}: relations.{name}: unknown key {lang!r}; use object or one of {', '.join(langs)}"
                )
            try:
                said[lang] = tuple(Template(text, lang) for text in texts)
            except BadData as error:
                raise BadData(f"{where}: relations.{name}.{lang}: {error}") from error
        before = schema.get(name)
        kind = table.get("object") or (before.object_kind if before else name)
        schema[name] = Relation(name, "concept", kind, {**(before.said if before else {}), **said})
    for name in schema:
        if LANGUAGE.fullmatch(name) and name in langs:
            raise BadData(f"{where}: relations.{name}: also the code of a language; give the relation another name")
    return tuple(schema.values())


def _check_elicit(elicit: Mapping[str, Any], langs: Sequence[str], where: str) -> None:
    """Raises `BadData` for a key that nothing reads, a value of another form, a frame without its definition."""
    keys = [f"{key}_{lang}" for lang in langs for key in ("frames", "frames_proper", "empty", "cloze_prior")]
    keys.append(f"frames_{NEUTRAL}")
    for key, value in elicit.items():
        if key not in keys:
            raise BadData(f"{where}: elicit: unknown key {key!r:.60}; use one of {', '.join(keys)}")
        if isinstance(value, list) != key.startswith("frames_"):
            raise BadData(f"{where}: elicit.{key}: must be {'one text' if isinstance(value, list) else 'a list'}")
        for number, frame in enumerate(value if isinstance(value, list) else (), 1):
            if "<def>" not in frame["text"].lower():
                raise BadData(f"{where}: elicit.{key} {number}: no <def> in {frame['text']!r:.60}; write its place")


def _check_values(where: str, entry: Mapping[str, Any], form: Form) -> None:
    """Raises `BadData` for a text where a list belongs or the reverse, a name of several lines, and an attribute
    that nothing asks for in the language of the edits."""
    home = form.langs[0]
    for key, value in entry.items():
        lists = key.startswith("define_")
        if isinstance(value, str | list) and isinstance(value, list) != lists:
            raise BadData(
                f"{where}: {key} must be {'a list of texts' if lists else 'one text'}, is {value!r:.60}; change it"
            )
        if key in form.langs and isinstance(value, str) and value != " ".join(value.split()):
            raise BadData(f"{where}: {key} has a line break or several blanks in a row; write the bare name")
        if key in form.relations and not form.relations[key].templates(home):
            raise BadData(f"{where}: nothing asks for {key!r} in {home}; add [relations.{key}] with {home} = [...]")


def _answer(kind: str, name: str, others: str | Mapping[str, str], langs: Sequence[str]) -> Entity:
    """An answer with its names; text instead of a table is its name in the second language."""
    if isinstance(others, str):
        others = {langs[1]: others} if len(langs) > 1 else {}
    names = {langs[0]: name} | {lang: text for lang, text in others.items() if lang in langs}
    nouns: dict[str, English | Noun | Bare] = {lang: Bare(text) for lang, text in names.items()}
    if "en" in names:
        nouns["en"] = English(names["en"])
    if "fr" in names:
        nouns["fr"] = Noun(names["fr"], article=False)
    return Entity(f"{kind}:{_key(name)}", Word(nouns))
