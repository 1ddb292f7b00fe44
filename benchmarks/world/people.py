"""Invented people and companies with arbitrary facts: nothing about them can be guessed, only learned.

Names are put together from parts (`people.toml`), facts are drawn at random. What is drawn for the n-th person hangs on
the seed and on n alone, so the first people of a larger world are those of a smaller one. The companies are always the
same few dozen.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.world.facts import ChainForm, Entity, Fact, Relation
from benchmarks.world.french import Noun
from benchmarks.world.sources import Part, load_relations, read_toml, slug
from benchmarks.world.templates import English, Template, bilingual
from editing.errors import BadRequest

MOST = 20_000
VOCABULARIES = ("profession", "instrument", "hobby", "dish", "product")


def _names(table: Mapping[str, Any], n: int, seed: int) -> list[tuple[str, str]]:
    """`n` different (full name, gender) pairs; family names come again only when all have been used."""
    families = [head + tail for head in table["family_head"] for tail in table["family_tail"]]
    random.Random(f"{seed}/families").shuffle(families)
    given = [(name, gender) for gender in "fm" for name in table[f"given_{gender}"]]
    out = []
    for index in range(n):
        family = families[index % len(families)]
        order = random.Random(f"{seed}/given/{family}").sample(given, len(given))
        name, gender = order[index // len(families)]
        out.append((f"{name} {family}", gender))
    return out


def _proper(kind: str, name: str, gender: Any, group: str) -> Entity:
    return Entity(f"{kind}:{slug(name)}", bilingual(English(name), Noun(name, gender, article=False)), group)


def load_people(n: int, known: Part, seed: int = 0) -> Part:
    """`n` people and the companies they work for: entities, relations and facts.

    Each person has a birthplace (a capital), a profession, an employer, an instrument, a pastime and a dish; each
    company a seat (a capital) and a product; each capital its country (`in_country`, the inverse of `capital`).

    Args:
        n: number of people.
        known: the countries, whose capitals are the birthplaces.
        seed: of all that is drawn.

    Raises:
        BadRequest: `n` out of range.
    """
    if not 1 <= n <= MOST:
        raise BadRequest(f"people={n}: ask for 1 to {MOST:,}")
    table = read_toml("people.toml")
    homes = {fact.object: fact.subject for fact in known.facts if fact.relation == "capital"}
    schema = [relation for subject in ("city", "human", "company") for relation in load_relations(subject)]
    entities: list[Entity] = []
    for kind in VOCABULARIES:
        entities += [
            Entity(f"{kind}:{slug(en)}", bilingual(English(en), Noun(fr, article=False)))
            for en, fr in table[kind].items()
        ]
    heads, tails = table["company_head"], table["company_tail"]
    companies = [_proper("company", head + tail, "f", "company") for head in heads for tail in tails]
    people = [_proper("human", name, gender, "human") for name, gender in _names(table, n, seed)]
    pools = {kind: [entity.key for entity in entities if entity.kind == kind] for kind in VOCABULARIES}
    pools |= {"city": list(homes), "company": [company.key for company in companies]}
    facts = [Fact(city, "in_country", country) for city, country in homes.items()]
    facts += _draw(companies, schema, pools, seed) + _draw(people, schema, pools, seed)
    return Part((*entities, *companies, *people), tuple(schema), tuple(facts))


def _draw(
    subjects: Sequence[Entity], schema: Sequence[Relation], pools: Mapping[str, Sequence[str]], seed: int
) -> list[Fact]:
    out = []
    for subject in subjects:
        for relation in schema:
            if relation.subject_kind == subject.kind:
                rng = random.Random(f"{seed}/{subject.key}/{relation.name}")
                out.append(Fact(subject.key, relation.name, rng.choice(pools[relation.object_kind])))
    return out


def load_chains() -> tuple[ChainForm, ...]:
    """The questions of several hops, `chains.toml`."""
    out = []
    for entry in read_toml("chains.toml")["chain"]:
        en, fr = (tuple(Template(text, lang) for text in entry[lang]) for lang in ("en", "fr"))
        out.append(ChainForm(tuple(entry["relations"]), en, fr))
    return tuple(out)
