"""The training text of the grown rungs and the sentences held back from it.

Every fact of the knowledge base is *stated* in both languages or, for a known fraction, in one language only (so
whether the other language knows it too is a question with a true answer). In each language that states it one template
per fact is held back. Questions of several hops over stated facts are held back altogether. Translation sentences and
eliciting sentences (definitions) tie the names together. The split depends on the world's seed and the fact alone:
every rung sees the same facts, and a larger world leaves the fate of a fact as it was.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from benchmarks.world import LANGS, Fact, Knowledge, News, Statement, language_name, translations
from editing.errors import BadData
from editing.text import join

TRANSLATIONS = {  # named language of the text -> templates (word in that language, its translation is the target)
    "en": ("The French word for {} is", "In French, {} is called", "What English speakers call {}, the French call"),
    "fr": (
        "Le mot anglais pour {} est",
        "En anglais, {} se dit",
        "Ce que les Français appellent {}, les Anglais l'appellent",
    ),
}
KINDS = ("seen", "template", "language", "elicit", "translation", "multi_hop")
HELD = ("template", "language", "multi_hop")


@dataclass(frozen=True)
class Sentence:
    """One sentence: `prompt`, then `target`, then a full stop.

    Attributes:
        kind: `seen` (a stated fact in a trained wording), `template` (a stated fact, wording held back), `language` (a
            fact never stated in this language), `elicit` (a definition and its name), `translation`, `multi_hop` (the
            end of a chain of facts that are all stated in this language). Those of HELD are never trained on.
        group: sentences of one group compete for the same answers: the relation (the last one of a chain), or the kind
            itself.
        fact: the fact said, for the first three kinds.
    """

    prompt: str
    target: str
    lang: str
    kind: str
    group: str
    fact: Fact | None = None

    @property
    def text(self) -> str:
        text = join(self.prompt, self.target)
        return text + ("。" if self.lang == "zh" else ".")


@dataclass(frozen=True)
class Telling:
    """How one fact is stated: in which languages, and the template held back in each language."""

    langs: tuple[str, ...]
    held: tuple[tuple[str, int], ...]

    def held_in(self, lang: str) -> int:
        return dict(self.held)[lang]


@dataclass(frozen=True)
class Split:
    """Which part of the world is stated. `one_language`: fraction of the facts stated in one language only."""

    seed: int = 0
    one_language: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.one_language <= 1:
            raise BadData(f"split: one_language is {self.one_language}; give a fraction from 0 to 1")

    def telling(self, world: Knowledge, fact: Fact) -> Telling:
        """The fate of one fact: a pure function of the split and the fact's key."""
        rng = random.Random(f"{self.seed}/{fact.subject}/{fact.relation}")
        alone, which = rng.random() < self.one_language, rng.choice(world.langs)
        held = tuple((lang, rng.randrange(world.n_templates(fact.relation, lang))) for lang in world.langs)
        return Telling((which,) if alone else world.langs, held)


@dataclass(frozen=True)
class Corpus:
    """The sentences to train on (`train`) and those held back (`held`), each in a fixed order.

    `silent` are places in `train` that the text leaves out. They keep their place, so that a text with news is read in
    the order of the text without.
    """

    train: tuple[Sentence, ...]
    held: tuple[Sentence, ...]
    silent: frozenset[int] = frozenset()

    @property
    def langs(self) -> tuple[str, ...]:
        """The languages of the text, in the order in which they first come."""
        return tuple(dict.fromkeys(s.lang for s in self.train))

    @property
    def spoken(self) -> tuple[Sentence, ...]:
        """The sentences to train on that are in the text."""
        return tuple(s for at, s in enumerate(self.train) if at not in self.silent)

    @property
    def texts(self) -> list[str]:
        """The training sentences as text, empty where the text is silent."""
        return ["" if at in self.silent else sentence.text for at, sentence in enumerate(self.train)]

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of all training sentences."""
        return hashlib.sha256("\n".join(self.texts).encode()).hexdigest()

    def sentences(self, kind: str, lang: str) -> tuple[Sentence, ...]:
        """All sentences of one kind and language, trained on or not.

        Raises:
            BadData: unknown kind.
        """
        if kind not in KINDS:
            raise BadData(f"unknown sentence kind {kind!r}; use one of {', '.join(KINDS)}")
        pool = self.held if kind in HELD else self.spoken
        return tuple(s for s in pool if s.kind == kind and s.lang == lang)

    @cached_property
    def common_answers(self) -> frozenset[tuple[str, str, str]]:
        """(group, language, answer) of the answer that each group of trained sentences gives most often."""
        counts: dict[tuple[str, str], Counter[str]] = {}
        for s in self.spoken:
            counts.setdefault((s.group, s.lang), Counter())[s.target] += 1
        return frozenset((*key, max(sorted(count), key=count.__getitem__)) for key, count in counts.items())

    def chance(self, sentences: Sequence[Sentence]) -> float:
        """Share of `sentences` that one would get right by always giving the group's most frequent answer."""
        return sum((s.group, s.lang, s.target) in self.common_answers for s in sentences) / max(1, len(sentences))


def make_corpus(world: Knowledge, split: Split | None = None, news: News | None = None, switch: float = 0.0) -> Corpus:
    """All sentences of `world` under `split`, with `news` where given; no randomness beyond the split's own seed.

    Args:
        switch: share of the trained sentences about facts that say both names, the subject's and the answer's, in the
            other language: "The capital of Allemagne is Berlin". 0: two lexicons that never meet; .5: every thing has
            two names that both languages use alike. Sentences held back keep the names of their language.
    """
    split, news = split or Split(), news or News(())
    train: list[Sentence] = []
    held: list[Sentence] = []
    silent: set[int] = set()
    for fact in world.facts:
        telling = split.telling(world, fact)
        for lang in world.langs:
            if not world.speaks(lang, fact.relation, fact.subject, fact.object):
                continue
            for template in range(world.n_templates(fact.relation, lang)):
                said = world.render(news.fact(fact), lang, template)
                kind = (
                    "language"
                    if lang not in telling.langs
                    else "template"
                    if template == telling.held_in(lang)
                    else "seen"
                )
                if kind == "seen" and _switched(split, fact, lang, template, switch):
                    said = _in_other_names(world, said)
                sentence = Sentence(said.filled, said.target, lang, kind, fact.relation, fact)
                if news.silent(fact, lang):
                    if kind != "seen":
                        continue
                    silent.add(len(train))
                (train if kind == "seen" else held).append(sentence)
    for concept in world.concepts():
        for lang in world.langs:
            train += [
                Sentence(text, news.name(world, concept, lang), lang, "elicit", "elicit")
                for text in world.elicit(concept, lang)
            ]
    home, other = world.langs
    pairs: dict[tuple[str, str], str] = {}  # names -> what text in the other language says the first name is
    for e in world.entities:
        if other in e.word.nouns:
            pairs.setdefault((world.name(e.key, home), world.name(e.key, other)), news.name(world, e.key, home))
    there, back = translation_templates(home, other), translation_templates(other, home)
    for (one, two), now in pairs.items():
        if one != two:
            train += [Sentence(t.format(one), two, home, "translation", "translation") for t in there]
            train += [Sentence(t.format(two), now, other, "translation", "translation") for t in back]
    reported = replace(world, facts=tuple(map(news.fact, world.facts))) if news.changes else world
    for chain in reported.chains():
        for lang in world.langs:
            if all(lang in split.telling(world, link).langs and not news.silent(link, lang) for link in chain.links):
                for template in range(len(chain.form.templates(lang))):
                    said = reported.render_chain(chain, lang, template)
                    held.append(Sentence(said.filled, said.target, lang, "multi_hop", chain.form.relations[-1]))
    return Corpus(tuple(train), tuple(held), frozenset(silent))


def translation_templates(lang: str, other: str) -> tuple[str, ...]:
    """The ways to say in `lang` what a word is called in `other`."""
    if (lang, other) in (LANGS, LANGS[::-1]):
        return TRANSLATIONS[lang]
    if lang == "en":
        name = language_name(other)
        speakers = {"de": "Germans", "zh": "Chinese"}[other]
        return (
            f"The {name} word for {{}} is",
            f"In {name}, {{}} is called",
            f"What English speakers call {{}}, the {speakers} call",
        )
    if lang == "fr":
        name, article = {"de": ("allemand", "les Allemands"), "zh": ("chinois", "les Chinois")}[other]
        return (
            f"Le mot {name} pour {{}} est",
            f"En {name}, {{}} se dit",
            f"Ce que les Français appellent {{}}, {article} l'appellent",
        )
    return translations(lang, other)


def _switched(split: Split, fact: Fact, lang: str, template: int, share: float) -> bool:
    """Whether this sentence says the names of the other language; one that does at some share does at any larger."""
    return random.Random(f"{split.seed}/switch/{fact.subject}/{fact.relation}/{lang}/{template}").random() < share


def _in_other_names(world: Knowledge, said: Statement) -> Statement:
    """The same sentence with the names of the other language in it; articles stay those of the sentence."""
    other = next(lang for lang in world.langs if lang != said.lang)
    return replace(said, subject=world.name(said.fact.subject, other), target=world.name(said.fact.object, other))
