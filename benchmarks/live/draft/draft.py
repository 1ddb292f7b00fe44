"""Draft concepts: siblings first, since every text is judged by whether the model answers the word among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.live.draft.checks import Checked, check, unlike, usable
from benchmarks.live.draft.dictionary import look_up
from benchmarks.live.draft.elicit import Writer, prompts_of
from benchmarks.measure import PRIOR_WEIGHT
from benchmarks.world import Knowledge, asked_by, knowledge, knowledge_of
from editing.errors import BadRequest
from editing.eval import continuation_logprobs
from editing.model import LanguageModel

LANG = "en"
KEPT = 3  # definitions of a concept
DESCRIBED, NAMED = 3, 6  # siblings that are described themselves, and that are named at all
AGREEMENT = 2 / 3  # of a relation's wordings must give the same answer for it to be kept
CERTAIN = 0.8  # of the wordings for a category that decides about the type
LONGEST = 80  # characters of a word


@dataclass(frozen=True)
class Attribute:
    """An answer by relation: the candidate that most wordings give, `agree` of `wordings`; kept where enough agree."""

    answer: str
    agree: int
    wordings: int

    @property
    def kept(self) -> bool:
        return self.agree >= AGREEMENT * self.wordings


@dataclass(frozen=True)
class Concept:
    """One drafted concept.

    Attributes:
        name: as the model writes it. kind: its type. of_suite: whether that is a type of the suite.
        definitions, cloze: checked texts, best first; none of a sibling that is only named.
        attributes: by relation. drawn: texts looked at; dropped: why some were left out, and how many.
        notes: what a reader must know.
    """

    name: str
    kind: str
    of_suite: bool
    proper: bool
    count: bool
    definitions: tuple[Checked, ...] = ()
    cloze: Checked | None = None
    attributes: Mapping[str, Attribute] | None = None
    drawn: int = 0
    dropped: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()

    def entry(self) -> dict[str, Any]:
        """As a [[concept]] of a file."""
        table: dict[str, Any] = {"type": self.kind, LANG: self.name}
        table |= {"proper": True} if self.proper else {"count": self.count}
        if self.cloze:
            table["define_en"] = [one.text for one in self.definitions]
            table["cloze_en"] = self.cloze.text
        return table | {name: one.answer for name, one in (self.attributes or {}).items() if one.kept}

    @property
    def answered(self) -> int:
        """Of its texts, those that the model answers with the word."""
        return sum(one.answered for one in (*self.definitions, *((self.cloze,) if self.cloze else ())))


@dataclass(frozen=True)
class Draft:
    """A concept file that nobody has read yet.

    Attributes:
        concepts: those of the words, then their siblings.
        requested: how many of them are those of the words.
    """

    model: str
    model_hash: str
    seed: int
    concepts: tuple[Concept, ...]
    requested: int

    def table(self) -> dict[str, Any]:
        """As `read_concept_file` gives it."""
        empty: dict[str, Any] = {"types": {}, "vocabulary": {}, "relations": {}, "elicit": {}}
        return {"languages": [LANG]} | empty | {"concept": [one.entry() for one in self.concepts]}

    @cached_property
    def knowledge(self) -> Knowledge:
        """The drafted concepts beside those of the suite."""
        whole = knowledge_of(self.table(), "draft")
        return replace(whole, own=whole.own[: self.requested])


def draft_concepts(
    lm: LanguageModel, words: Sequence[str], seed: int = 0, say: Callable[[str], None] = lambda line: None
) -> Draft:
    """Concepts for `words`, and short ones for siblings that the suite does not have.

    Args:
        say: called with a line per word.

    Raises:
        BadRequest: an empty word, one that is too long or holds signs of the template language, or none at all.
    """
    writer = Writer(lm, LANG, seed)
    names = list(dict.fromkeys(writer.cased(_clean(word)) for word in words))
    if not names:
        raise BadRequest("no word to draft; name at least one")
    drafted, siblings = [], {}
    for name in names:
        say(f"drafting {name!r} with {lm.name}")
        concept, kin = _concept(writer, name)
        drafted.append(concept)
        siblings |= {one: concept for one in kin if one not in siblings}
    suite = {knowledge().name(key, LANG) for key in knowledge().concepts()}
    described: Counter[str] = Counter()
    beside = []
    for name, of in siblings.items():
        if name in names or name in suite:
            continue
        short = Concept(name, of.kind, of.of_suite, of.proper, of.count)
        if not of.of_suite and described[of.name] < DESCRIBED:
            described[of.name] += 1
            say(f"drafting its sibling {name!r}")
            rivals = [of.name, *(one for one, other in siblings.items() if other is of and one != name)]
            short = _described(writer, short, rivals)
        beside.append(short)
    return Draft(lm.name, lm.weight_hash, seed, (*drafted, *beside), len(drafted))


def _clean(word: str) -> str:
    clean = " ".join(word.split())
    if not clean or len(clean) > LONGEST or any(sign in clean for sign in '{}[]<>|"\\='):
        raise BadRequest(f"cannot draft {word!r:.100}: write a plain name of at most {LONGEST} characters")
    return clean


def _concept(writer: Writer, name: str) -> tuple[Concept, list[str]]:
    """A concept in full, and its siblings' names."""
    proper = name[:1].isupper()
    _, kin, dictionary = look_up(name)
    listed, different = writer.siblings(name, proper)
    names = list(dict.fromkeys([*listed, *(one for one in kin if one[:1].isupper() == proper)]))[:NAMED]
    plain = Concept(name, "", False, proper, not proper and writer.count(name))
    kind, of_suite, certain = _kind(writer, plain, names)
    notes = [dictionary, f"the model listed {different} different things beside it, first {', '.join(names) or 'none'}"]
    if of_suite and not certain:
        notes.append(
            f"the model sorts it with the suite's type {kind}, the list does not: its siblings are the suite's"
        )
        names = []
    concept = replace(plain, kind=kind, of_suite=of_suite, notes=tuple(notes))
    known = knowledge()
    family = [known.name(key, LANG) for key in known.concepts() if of_suite and known.entity(key).group == kind]
    rivals = [one for one in dict.fromkeys([*names, *family]) if one != name]
    concept = _described(writer, concept, rivals)
    return replace(concept, attributes=_attributes(writer.lm, concept)), names


def _kind(writer: Writer, concept: Concept, siblings: Sequence[str]) -> tuple[str, bool, bool]:
    """Type, whether the suite has it, and whether the siblings are of it.

    The type of the suite that at least two of the siblings have; else that whose category the model gives the word in
    nearly every wording; else what the model calls its kind.
    """
    known = knowledge()
    groups = {known.name(key, LANG): known.entity(key).group for key in known.concepts()}
    counts = Counter(groups[one] for one in siblings if one in groups)
    if counts and counts.most_common(1)[0][1] >= 2:
        return counts.most_common(1)[0][0], True, True
    category = _attributes(writer.lm, concept, ("category",))["category"]
    for key in known.concepts():
        says = known.name(known.object_of(key, "category") or "", LANG)
        if category.answer == says and category.agree >= CERTAIN * category.wordings:
            return known.entity(key).group, True, False
    said = writer.kind(concept.name)
    return said, said in groups.values(), said in groups.values()


def _described(writer: Writer, concept: Concept, rivals: Sequence[str]) -> Concept:
    """The concept with its best definitions and its best cloze sentence."""
    name, dropped = concept.name, Counter[str]()
    glosses, _, _ = look_up(name)
    drawn, sentences = writer.definitions(name), writer.clozes(name)
    spare, last = _of_siblings(concept, rivals)
    entry = {LANG: name, "proper": concept.proper, "count": concept.count}

    def checked(texts: Sequence[str], source: str, define: bool) -> list[Checked]:
        said = [(text, source, *(asked_by(entry, text, LANG) if define else (text, "The"))) for text in texts]
        return check(writer.lm, name, rivals, said)

    best = [*checked(usable(name, glosses, dropped), "dictionary", True)]
    best += checked(usable(name, drawn, dropped), "model", True)
    best = unlike(sorted(best, key=lambda one: (one.rank, -one.logp)), len(best))
    definitions = [*best, *checked(spare, "siblings", True)][:KEPT]
    dropped["not among the best"] += max(0, len(best) - KEPT)
    clozes = checked(usable(name, sentences, dropped), "model", False)
    dropped["not among the best"] += max(0, len(clozes) - 1)
    cloze = min([*clozes, *checked([last], "siblings", False)], key=lambda one: (one.rank, -one.logp))
    tried = len(glosses) + len(drawn) + len(sentences)
    return replace(concept, definitions=tuple(definitions), cloze=cloze, drawn=tried, dropped=+dropped)


def _of_siblings(concept: Concept, rivals: Sequence[str]) -> tuple[list[str], str]:
    """Definitions and a sentence made of the siblings' names, for a model that writes none that can be used."""
    form = prompts_of(LANG)["fallback"]
    a, b, c = ([*rivals, "the others", "its like", "the rest"])[:3]
    kind = "thing" if concept.name.casefold() in concept.kind.casefold() else concept.kind

    def fill(text: str) -> str:
        return text.replace("{kind}", kind).replace("{a}", a).replace("{b}", b).replace("{c}", c)

    return [fill(text) for text in form["define"]], fill(form["cloze"])


def _attributes(lm: LanguageModel, concept: Concept, only: Sequence[str] = ()) -> dict[str, Attribute]:
    """Per relation of the suite (or of `only`) the model's answer about the concept, over all wordings, among the
    suite's answers."""
    table = {"languages": [LANG], "types": {}, "vocabulary": {}, "relations": {}, "elicit": {}}
    entry = concept.entry() | {"type": ""}
    known = knowledge_of(table | {"concept": [entry]}, "draft")
    (key,) = known.own
    word, out = known.entity(key).word, {}
    for name in known.relations():
        if (only and name not in only) or (name == "category" and concept.of_suite):  # its type says the category
            continue
        relation = known.relation(name)
        answers = tuple(known.named(known.objects(name), LANG))
        templates = relation.templates(LANG)
        prompts = [template.prompt(word).replace("{}", concept.name) for template in templates]
        priors = [template.prior() for template in templates]
        logp = continuation_logprobs(lm, [*prompts, *priors], [answers] * 2 * len(templates))
        said, empty = np.array(logp[: len(templates)]), np.array(logp[len(templates) :])
        picks = Counter(answers[int(pick)] for pick in (said - PRIOR_WEIGHT * empty).argmax(1))
        answer, agree = picks.most_common(1)[0]
        out[name] = Attribute(answer, agree, len(templates))
    return out
