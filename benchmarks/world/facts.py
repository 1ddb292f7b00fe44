"""What the world is made of: entities, relations, facts, chains, and how a fact is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.world.templates import Template, Word

LANGS = ("en", "fr")


@dataclass(frozen=True)
class Entity:
    """Something with a name: a subject or an object of facts.

    Attributes:
        key: "kind:slug", unique: "concept:cheese", "country:FR", "color:yellow".
        word: its names and articles.
        group: what it is a sibling in: the type of a concept, the continent of a country; empty for objects.
        elicit: by language, texts whose right continuation is the bare name (concepts only).
        prior: by language, the same texts without their content, one per eliciting text.
    """

    key: str
    word: Word
    group: str = ""
    elicit: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prior: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.key.partition(":")[0]


@dataclass(frozen=True)
class Relation:
    """A relation with its templates; its subjects and objects are the entities of these kinds."""

    name: str
    subject_kind: str
    object_kind: str
    said: Mapping[str, tuple[Template, ...]]

    def templates(self, lang: str) -> tuple[Template, ...]:
        """The ways to ask for it in a language; none where nobody wrote any."""
        return self.said.get(lang, ())


@dataclass(frozen=True)
class Fact:
    """A true statement as entity keys, e.g. ("country:FR", "capital", "city:paris")."""

    subject: str
    relation: str
    object: str


@dataclass(frozen=True)
class ChainForm:
    """A multi-hop question: its relations, each object being the next subject, and the prompts for the last object."""

    relations: tuple[str, ...]
    en: tuple[Template, ...]
    fr: tuple[Template, ...]

    def templates(self, lang: str) -> tuple[Template, ...]:
        return {"en": self.en, "fr": self.fr}[lang]


@dataclass(frozen=True)
class Chain:
    """Linked facts, each object being the next subject. `form` has the prompts for the last object."""

    form: ChainForm
    links: tuple[Fact, ...]

    @property
    def subject(self) -> str:
        return self.links[0].subject

    @property
    def answer(self) -> str:
        return self.links[-1].object


@dataclass(frozen=True)
class Statement:
    """A fact (or the end of a chain) said in one language with one template.

    Attributes:
        prompt: the text before the answer, with the slot: "La capitale de l'{} s'appelle".
        subject: the bare name that fills the slot: "Allemagne".
        target: the bare answer: "Berlin". Join with `editing.text.requests.join`.
    """

    prompt: str
    subject: str
    target: str
    lang: str
    fact: Fact
    template: int

    @property
    def filled(self) -> str:
        return self.prompt.replace("{}", self.subject)
