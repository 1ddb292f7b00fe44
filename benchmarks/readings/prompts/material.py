"""Facts as questions: what every reading asks about, from the world or from a file of somebody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.grown import RungSpec, frequencies, make_corpus, read_card
from benchmarks.models import parse, resolve
from benchmarks.world import Knowledge, knowledge
from editing.references import CARD

# Per language, the wordings that are read: the first English one is written for edits and may show examples.
WORDINGS = {"en": (1, 0)}
OTHER_WORDINGS = (0, 1)


@dataclass(frozen=True)
class Question:
    """One fact in one wording.

    Attributes:
        entity: name of the subject in the first language of the material, as rows call it. group: its type.
        answer: name of the object in that language; entities with one answer share a class.
        wording: number of the template. template: text with one slot `{}` that ends right before the answer.
        subject, target: names of subject and object in the language of the template.
    """

    entity: str
    group: str
    relation: str
    answer: str
    lang: str
    wording: int
    template: str
    subject: str
    target: str


@dataclass(frozen=True)
class Material:
    """Questions about entities with several attributes each.

    Attributes:
        name: what rows and errors call it. langs: the languages, first the one in which maps and probes are learned.
        exposure: (entity, relation) -> how often training stated the fact, where that is known (grown rungs).
    """

    name: str
    langs: tuple[str, ...]
    questions: tuple[Question, ...]
    exposure: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @property
    def relations(self) -> tuple[str, ...]:
        """Names of the relations, in the order of the questions."""
        return tuple(dict.fromkeys(q.relation for q in self.questions))


def world_material(known: Knowledge | None = None, limit: int = 0) -> Material:
    """The facts of a world in two wordings per language; concepts, countries and people alike.

    Args:
        known: the world; the concept suite and 60 countries when left out.
        limit: at most this many facts of each relation, 0 means all.
    """
    known = known or knowledge()
    first = known.langs[0]
    questions = []
    for relation in known.relations():
        facts = known.facts_of(relation)
        for fact in facts[:limit] if limit else facts:
            for lang in known.langs:
                if not known.speaks(lang, relation, fact.subject, fact.object):
                    continue
                count = known.n_templates(relation, lang)
                for wording in WORDINGS.get(lang, OTHER_WORDINGS):
                    if wording >= count:
                        continue
                    said = known.render(fact, lang, wording)
                    entity, group = known.name(fact.subject, first), known.entity(fact.subject).group
                    answer = known.name(fact.object, first)
                    questions.append(
                        Question(entity, group, relation, answer, lang, wording, said.prompt, said.subject, said.target)
                    )
    return Material("world", tuple(known.langs), tuple(questions))


def recipe_of(reference: str) -> RungSpec | None:
    """How a rung trained here was trained, from its name or from the card in its folder; None for other models.

    Raises:
        BadModel: a reference of no known form, a card that cannot be read.
    """
    parsed = parse(reference)
    if parsed.kind == "grown":
        return RungSpec.parse(parsed.name)
    folder = Path(parsed.name).expanduser()
    return RungSpec.parse(read_card(folder)["name"]) if parsed.kind == "folder" and (folder / CARD).is_file() else None


def exposure_of(reference: str) -> dict[tuple[str, str], float]:
    """(entity, relation) -> how many sentences that state the fact the training of a rung read, both languages
    together; empty for other models, whose text is not known, and for rungs of a text that is no longer made.

    Raises:
        BadModel: a rung that cannot be made, a card that cannot be read.
    """
    spec = recipe_of(reference)
    if spec is None:
        return {}
    card = read_card(resolve(reference).folder)
    corpus = make_corpus(spec.world, spec.split, spec.news, spec.switch)
    if corpus.hash != card["world"]["text"]:
        return {}
    often = frequencies(corpus, spec.zipf, spec.seed)
    epochs = spec.recipe.batch * card["steps"] / card["world"]["tokens"]
    counts: Counter[tuple[str, str]] = Counter()
    for place, sentence in enumerate(corpus.train):
        if sentence.fact is not None and place not in corpus.silent:
            key = (spec.world.name(sentence.fact.subject, "en"), sentence.fact.relation)
            counts[key] += float(often[place]) * epochs  # pyright: ignore[reportArgumentType]
    return dict(counts)
