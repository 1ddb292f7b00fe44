"""The knowledge base: entities, relations and true facts in a fixed order, and how to say them in two languages.

`knowledge()` joins the concept suite (written by us, `concepts.toml`) and the world facts (made at run time from CLDR
and GeoNames, `countries.py`), and, where requested, invented people (`people.py`). Data sets draw their cases from it;
grown rungs are trained on its sentences.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache

from benchmarks.world.facts import LANGS, Chain, ChainForm, Entity, Fact, Relation, Statement
from benchmarks.world.templates import bilingual
from editing.errors import BadData, BadRequest


@dataclass(frozen=True)
class Knowledge:
    """Everything the data sets and the grown rungs may say. Frozen; the order of every tuple is fixed.

    Attributes:
        langs: the languages it speaks, that of the edits first. In all but that one, an entity may have no name.
        own: keys of the concepts that cases are made of; empty means all.

    Raises:
        BadData: two entities of a kind share a name in a language, a fact names an unknown entity or relation, a
            subject has two objects under one relation.
    """

    entities: tuple[Entity, ...]
    schema: tuple[Relation, ...]
    facts: tuple[Fact, ...]
    forms: tuple[ChainForm, ...] = ()
    langs: tuple[str, ...] = LANGS
    own: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        keys = {entity.key for entity in self.entities}
        names = {relation.name for relation in self.schema}
        if len(keys) != len(self.entities) or len(names) != len(self.schema):
            raise BadData("knowledge: two entities or two relations share a key; rename one")
        for lang in self.langs:
            owners: dict[tuple[str, str], str] = {}
            for entity in self.entities:
                if lang not in entity.word.nouns:
                    continue
                other = owners.setdefault((entity.kind, entity.word.name(lang)), entity.key)
                if other != entity.key:
                    raise BadData(f"knowledge: {other} and {entity.key} share the {lang} name; drop or rename one")
        stated: set[tuple[str, str]] = set()
        for fact in self.facts:
            if fact.subject not in keys or fact.object not in keys or fact.relation not in names:
                raise BadData(f"knowledge: {fact} names an unknown entity or relation; declare it first")
            if (fact.subject, fact.relation) in stated:
                raise BadData(f"knowledge: {fact.subject} has two objects under {fact.relation}; keep one")
            stated.add((fact.subject, fact.relation))
        for form in self.forms:
            if len(form.relations) < 2 or not set(form.relations) <= names:
                raise BadData(f"knowledge: chain {form.relations} needs two or more known relations; correct it")

    @cached_property
    def _entity(self) -> dict[str, Entity]:
        return {entity.key: entity for entity in self.entities}

    @cached_property
    def _relation(self) -> dict[str, Relation]:
        return {relation.name: relation for relation in self.schema}

    @cached_property
    def _by_relation(self) -> dict[str, tuple[Fact, ...]]:
        return {name: tuple(f for f in self.facts if f.relation == name) for name in self._relation}

    @cached_property
    def _by_subject(self) -> dict[str, tuple[Fact, ...]]:
        out: dict[str, list[Fact]] = {}
        for fact in self.facts:
            out.setdefault(fact.subject, []).append(fact)
        return {key: tuple(facts) for key, facts in out.items()}

    @cached_property
    def _by_kind(self) -> dict[str, tuple[str, ...]]:
        out: dict[str, list[str]] = {}
        for entity in self.entities:
            out.setdefault(entity.kind, []).append(entity.key)
        return {kind: tuple(keys) for kind, keys in out.items()}

    @cached_property
    def _choices(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """(relation, language) -> the names of the relation's answers."""
        return {
            (name, lang): tuple(self.named(self.objects(name), lang)) for name in self._relation for lang in self.langs
        }

    def entity(self, key: str) -> Entity:
        return self._entity[key]

    def relation(self, name: str) -> Relation:
        return self._relation[name]

    def relations(self) -> tuple[str, ...]:
        return tuple(self._relation)

    def facts_of(self, relation: str) -> tuple[Fact, ...]:
        return self._by_relation[relation]

    def about(self, subject: str) -> tuple[Fact, ...]:
        """All facts of one subject, in the order of the relations."""
        return self._by_subject.get(subject, ())

    def object_of(self, subject: str, relation: str) -> str | None:
        return next((fact.object for fact in self.about(subject) if fact.relation == relation), None)

    def n_templates(self, relation: str, lang: str) -> int:
        return len(self._relation[relation].templates(lang))

    def render(self, fact: Fact, lang: str, template: int) -> Statement:
        word = self._entity[fact.subject].word
        prompt = self._relation[fact.relation].templates(lang)[template].prompt(word)
        return Statement(prompt, word.name(lang), self.name(fact.object, lang), lang, fact, template)

    def prior(self, relation: str, lang: str, template: int) -> str:
        return self._relation[relation].templates(lang)[template].prior()

    def name(self, entity: str, lang: str) -> str:
        return self._entity[entity].word.name(lang)

    def named(self, keys: Iterable[str], lang: str) -> list[str]:
        """The names in `lang` of those entities that have one."""
        words = (self._entity[key].word for key in keys)
        return [word.name(lang) for word in words if lang in word.nouns]

    def speaks(self, lang: str, relation: str, *entities: str) -> bool:
        """Whether the relation can be evaluated in `lang` with all these entities, with something to choose."""
        nouns = [self._entity[key].word.nouns for key in entities]
        choices = self._choices[relation, lang]
        return self.n_templates(relation, lang) > 0 and len(choices) > 1 and all(lang in names for names in nouns)

    def objects(self, relation: str) -> tuple[str, ...]:
        """Keys of the closed vocabulary of `relation`'s answers, incl. distractors that answer no fact."""
        return self._by_kind.get(self._relation[relation].object_kind, ())

    def candidates(
        self, relation: str, lang: str, target: str, m: int = 20, include: Iterable[str] = ()
    ) -> tuple[str, ...]:
        """Up to `m` different names of the relation's answers, in a fixed order, `target` and `include` among them.

        `target` and `include` are names in `lang` (a target from outside the vocabulary is kept as it is). The rest is
        drawn by a generator seeded with the relation and the target, so it is the same at every rung.
        """
        return _drawn(self._choices[relation, lang], (target, *include), m, f"{relation}/{lang}/{target}")

    def elicit(self, concept: str, lang: str) -> tuple[str, ...]:
        """Texts whose right continuation is the concept's name; none where the concept is not described."""
        return self._entity[concept].elicit.get(lang, ())

    def elicit_prior(self, concept: str, lang: str) -> tuple[str, ...]:
        """The subject-free twin of each eliciting text: "This thing is called a"."""
        return self._entity[concept].prior.get(lang, ())

    def concepts(self) -> tuple[str, ...]:
        return self._by_kind.get("concept", ())

    def subjects(self) -> tuple[str, ...]:
        """The concepts that cases are made of: those of a file of one's own, else all."""
        return self.own or self.concepts()

    def countries(self) -> tuple[str, ...]:
        return self._by_kind.get("country", ())

    def people(self) -> tuple[str, ...]:
        return self._by_kind.get("human", ())

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """Name in the language of the edits -> the entities that have facts under it."""
        out: dict[str, list[str]] = {}
        for key in self._by_subject:
            out.setdefault(self.name(key, self.langs[0]), []).append(key)
        return out

    def namesakes(self, subject: str) -> tuple[Fact, ...]:
        """The facts of other things of the same name."""
        keys = self._by_name[self.name(subject, self.langs[0])]
        return tuple(fact for key in keys if key != subject for fact in self.about(key))

    def follow(self, form: ChainForm, subject: str, instead: Fact | None = None) -> Chain | None:
        """The chain of `form` from `subject`, None where a link is missing; `instead` replaces what it contradicts."""
        links: list[Fact] = []
        for relation in form.relations:
            if instead is not None and (instead.subject, instead.relation) == (subject, relation):
                link = instead
            else:
                end = self.object_of(subject, relation)
                if end is None:
                    return None
                link = Fact(subject, relation, end)
            links.append(link)
            subject = link.object
        return Chain(form, tuple(links))

    def chains(self, subject: str | None = None) -> tuple[Chain, ...]:
        """All chains of stated facts (those that start at `subject`, when given), by form and then by subject."""
        out = []
        for form in self.forms:
            starts = [subject] if subject else [fact.subject for fact in self.facts_of(form.relations[0])]
            out += [chain for start in starts if (chain := self.follow(form, start))]
        return tuple(out)

    def render_chain(self, chain: Chain, lang: str, template: int) -> Statement:
        """The question for the chain's end; the statement's fact is the last link."""
        word = self._entity[chain.subject].word
        prompt = chain.form.templates(lang)[template].prompt(word)
        return Statement(prompt, word.name(lang), self.name(chain.answer, lang), lang, chain.links[-1], template)

    def siblings(self, concept: str) -> tuple[str, ...]:
        """The other entities of the same kind and group."""
        one = self._entity[concept]
        return tuple(e.key for e in self.entities if e.kind == one.kind and e.group == one.group and e.key != concept)


@lru_cache(maxsize=10_000)
def _drawn(names: tuple[str, ...], must: tuple[str, ...], m: int, seed: str) -> tuple[str, ...]:
    """`draw_candidates`, once for all the questions that share an answer."""
    return draw_candidates(names, must, m, seed)


def draw_candidates(names: Iterable[str], must: Iterable[str], m: int, seed: str) -> tuple[str, ...]:
    """Up to `m` different names incl. all of `must`, sorted by a seeded shuffle (a pure function of its arguments)."""
    chosen = list(dict.fromkeys(must))
    rng = random.Random(seed)
    rest = [name for name in dict.fromkeys(names) if name not in chosen]
    rng.shuffle(rest)
    chosen += rest[: max(0, m - len(chosen))]
    rng.shuffle(chosen)
    return tuple(chosen)


@cache
def knowledge(
    countries: int = 60,
    people: int = 0,
    concepts: bool = True,
    homonyms: float = 0.0,
    langs: tuple[str, ...] = LANGS,
    shared: float = 0.0,
) -> Knowledge:
    """The facts of the best known `countries` of the world, that many invented `people`, and the concept suite.

    Args:
        homonyms: share of the concepts that bear the name of a country.
        langs: the languages, that of the edits first: en, fr, de, zh.
        shared: share of the things that bear their English name in French too; English and French only.

    Raises:
        BadRequest: a number out of range, an unknown language, invented people in another language than English and
            French.
    """
    from benchmarks.world.concepts import load_concepts
    from benchmarks.world.countries import load_countries

    parts = [*([load_concepts()] if concepts else ()), load_countries(countries)]
    forms: tuple[ChainForm, ...] = ()
    if people:
        from benchmarks.world.people import load_chains, load_people

        parts.append(load_people(people, parts[-1]))
        forms = load_chains()
    entities = tuple(entity for part in parts for entity in part.entities)
    schema = tuple(relation for part in parts for relation in part.schema)
    facts = tuple(fact for part in parts for fact in part.facts)
    if langs != LANGS:
        from benchmarks.world.languages.spoken import check_languages, speaking

        if people and not set(langs) <= set(LANGS):
            raise BadRequest("invented people speak English and French only; leave people or the other languages out")
        entities, schema, facts = speaking(entities, schema, facts, check_languages(langs))
    if shared:
        entities = with_shared_names(entities, shared)
    return Knowledge(with_homonyms(entities, homonyms) if homonyms else entities, schema, facts, forms, langs)


def with_shared_names(entities: Sequence[Entity], share: float) -> tuple[Entity, ...]:
    """`entities`, a share of them under their English name in French too; gender and number of the French noun stay.

    Which ones hangs on their keys alone, and a thing that is shared at some share is so at any larger one. Where the
    English name of one thing is the French name of another of its kind, both keep their own.
    """
    french = Counter((entity.kind, entity.word.name("fr")) for entity in entities)
    out = []
    for entity in entities:
        en, fr = entity.word.name("en"), entity.word.fr
        clash = en != fr.name and french[entity.kind, en]
        if not clash and random.Random(f"shared/{entity.key}").random() < share:
            entity = replace(entity, word=bilingual(entity.word.en, replace(fr, name=en)))
        out.append(entity)
    return tuple(out)


def homonym_pairs(entities: Sequence[Entity]) -> list[tuple[str, str]]:
    """(concept, country) keys of the things that share a name at the share 1, in the order in which a rising share
    takes them."""
    keys = {kind: [e.key for e in entities if e.kind == kind] for kind in ("concept", "country")}
    for kind, some in keys.items():
        random.Random(f"homonyms/{kind}").shuffle(some)
    return list(zip(keys["concept"], keys["country"], strict=False))


def with_homonyms(entities: Sequence[Entity], share: float) -> tuple[Entity, ...]:
    """`entities`, a share of the concepts under the names of countries, in both languages and with their articles.

    "The capital of France is Paris" and "The color of France is yellow" are then both true, the second of what would
    be called cheese.
    Which concept takes which country's name hangs on their keys alone, and a pair that shares a name at some share does
    so at any larger one.

    Args:
        share: 0 to 1, of as many concepts as there are countries for.
    """
    pairs = homonym_pairs(entities)
    words = {entity.key: entity.word for entity in entities}
    taken = {concept: words[country] for concept, country in pairs[: round(share * len(pairs))]}
    return tuple(replace(e, word=taken[e.key]) if e.key in taken else e for e in entities)
