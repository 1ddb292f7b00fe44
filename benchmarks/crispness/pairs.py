"""Which names are pairs, in which sentences they are read, and what stands in for the partner in the controls."""

from __future__ import annotations

import difflib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.datasets import differing, distant, edited_rank, turns
from benchmarks.world import Fact, Knowledge, Relation, Template, knowledge
from editing.errors import BadData, BadModel, BadRequest
from editing.model import LanguageModel
from editing.text import Prompt, tokenise, with_beginnings

OTHERS, BASES = 3, 2  # per name: other concepts whose state is patched in, and prompts it is patched into
# The first English template is written for edits (some show examples); the second says what the first French one says.
TEMPLATE = {"en": 1}


@dataclass(frozen=True)
class Pairs:
    """n concepts with different names in two languages, cheese first; indices below are places in `keys`.

    Attributes:
        keys: "concept:cheese"... groups: the type of each. langs: the two languages.
        own: keys of the concepts of a file of one's own; the others are the background. Empty means all.
    """

    known: Knowledge
    keys: tuple[str, ...]
    groups: tuple[str, ...]
    langs: tuple[str, str] = ("en", "fr")
    own: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        return len(self.keys)

    def name(self, i: int, lang: str) -> str:
        return self.known.name(self.keys[i], lang)

    def siblings(self, i: int) -> tuple[int, ...]:
        """The other concepts of the same type."""
        return tuple(j for j in range(self.n) if j != i and self.groups[j] == self.groups[i])

    def strangers(self, i: int) -> tuple[int, ...]:
        """The concepts of other types."""
        return tuple(j for j in range(self.n) if self.groups[j] != self.groups[i])

    def random_partners(self, draw: int, seed: int) -> tuple[int, ...]:
        """For each concept one of another type."""
        return tuple(
            random.Random(f"{seed}/partner/{draw}/{key}").choice(self.strangers(i)) for i, key in enumerate(self.keys)
        )

    def shuffled_partners(self, draw: int, seed: int) -> tuple[int, ...]:
        """All pairs broken at once: a permutation without a fixed point (one random cycle)."""
        order = list(range(self.n))
        random.Random(f"{seed}/shuffle/{draw}").shuffle(order)
        partner = [0] * self.n
        for a, b in zip(order, order[1:] + order[:1], strict=True):
            partner[a] = b
        return tuple(partner)

    def patch_others(self, j: int, seed: int) -> tuple[int, ...]:
        """The random concepts whose states are patched in to see how often name j is said anyway."""
        pool = self.strangers(j)
        return tuple(random.Random(f"{seed}/others/{self.keys[j]}").sample(pool, min(OTHERS, len(pool) - 1)))

    def patch_bases(self, j: int, seed: int) -> tuple[int, ...]:
        """The concepts about whose name the prompts ask into which states are patched while name j is listened for."""
        taken = self.patch_others(j, seed)
        pool = [i for i in self.strangers(j) if i not in taken]
        return tuple(random.Random(f"{seed}/bases/{self.keys[j]}").sample(pool, min(BASES, len(pool))))

    def chosen(self, names: Sequence[str]) -> tuple[int, ...]:
        """Places of the concepts with these names in either language; without names all (of the file).

        Raises:
            BadRequest: an unknown concept, or one with the same name in both languages.
        """
        if not names:
            return tuple(i for i in range(self.n) if not self.own or self.keys[i] in self.own)
        table = {self.name(i, lang).lower(): i for lang in reversed(self.langs) for i in range(self.n)}
        numbers = []
        for name in names:
            place = table.get(name.strip().lower())
            if place is None:
                close = difflib.get_close_matches(name, table, n=1)
                hint = f"did you mean {close[0]!r}?" if close else "use the English name of a concept of the suite"
                raise BadRequest(f"concept {name!r:.60}: none with two different names is called so; {hint}")
            numbers.append(place)
        return tuple(dict.fromkeys(numbers))


def concept_pairs(known: Knowledge | None = None) -> Pairs:
    """The concepts whose names differ ("train", "piano", "table" are one word in English and French).

    Raises:
        BadData: knowledge of one language, or with fewer than three such concepts of another type beside each.
    """
    known = known or knowledge()
    if len(known.langs) < 2:
        raise BadData(f"concepts in {', '.join(known.langs)} alone are no pairs of names; add a second language")
    one, two = known.langs[:2]
    both = [key for key in known.concepts() if known.elicit(key, one) and known.elicit(key, two)]
    keys = tuple(k for k in both if known.name(k, one).lower() != known.name(k, two).lower() and changed_fact(known, k))
    pairs = Pairs(known, keys, tuple(known.entity(k).group for k in keys), (one, two), known.own)
    short = [key for i, key in enumerate(keys) if len(pairs.strangers(i)) < OTHERS]
    if not keys or short:
        name = known.name(short[0], one) if short else "any pair"
        raise BadData(f"{name}: needs {OTHERS} pairs of another type to be compared with; add some to the concepts")
    return pairs


def concept_names(most: int) -> tuple[str, ...]:
    """English names of the first `most` pairs of the suite, the types taking turns."""
    pairs = concept_pairs()
    by_type: dict[str, list[str]] = {}
    for i, group in enumerate(pairs.groups):
        by_type.setdefault(group, []).append(pairs.name(i, "en"))
    return tuple(turns(list(by_type.values()))[:most])


def changed_fact(known: Knowledge, key: str, seed: int = 0) -> tuple[Fact, str] | None:
    """A fact of the concept and its new object, all with names in both languages; None where there is no such fact.

    The object is that of a seeded distant concept, or where that one has no such names, of the first concept of another
    type that has.
    """
    kind = known.entity(key).group
    for goal in (distant(known, key, seed), *known.concepts()):
        if not goal or known.entity(goal).group == kind:
            continue
        for fact in sorted(differing(known, key, goal), key=lambda f: edited_rank(f.relation)):
            new = known.object_of(goal, fact.relation) or ""
            if all(known.speaks(lang, fact.relation, key, fact.object, new) for lang in known.langs[:2]):
                return fact, new
    return None


def frames(lm: LanguageModel, pairs: Pairs, lang: str) -> list[list[Prompt]]:
    """Per concept the same sentences about it, one per relation of concepts, looked up at the last token of its
    name."""
    known = pairs.known
    relations = [known.relation(r) for r in known.relations() if known.relation(r).subject_kind == "concept"]
    relations = [r for r in relations if all(r.templates(one) for one in pairs.langs)]
    questions = [
        (_template(r, lang).prompt(known.entity(key).word), pairs.name(i, lang))
        for i, key in enumerate(pairs.keys)
        for r in relations
    ]
    prompts = [fitting(lm, template, name, "subject_last") for template, name in questions]
    prompts = with_beginnings(prompts, [template for template, _ in questions])
    return [prompts[at : at + len(relations)] for at in range(0, len(prompts), len(relations))]


def _number(relation: Relation, lang: str) -> int:
    return min(TEMPLATE.get(lang, 0), len(relation.templates(lang)) - 1)


def _template(relation: Relation, lang: str) -> Template:
    return relation.templates(lang)[_number(relation, lang)]


def facts(lm: LanguageModel, pairs: Pairs, lang: str, seed: int) -> list[Prompt]:
    """Per concept one fact to be changed, said in `lang`: its object becomes that of a distant concept."""
    known, out = pairs.known, []
    for i, key in enumerate(pairs.keys):
        change = changed_fact(known, key, seed)
        assert change is not None  # each of the pairs has one, at any seed
        fact, new = change
        target = known.name(new, lang)
        said = known.render(fact, lang, _number(known.relation(fact.relation), lang))
        out.append(fitting(lm, said.prompt, pairs.name(i, lang), "subject_last", target))
    return out


def fitting(lm: LanguageModel, template: str, subject: str, lookup: str, target: str = "") -> Prompt:
    """A tokenised prompt that the model can read whole.

    Raises:
        BadModel: it is longer than the model reads.
    """
    prompt = tokenise(lm, template, subject, lookup, target)
    if len(prompt.ids) > lm.max_length:
        raise BadModel(
            f"{lm.name}: reads {lm.max_length} tokens, and {template!r:.60} has {len(prompt.ids)} in its tokens; "
            "choose a model with a longer context"
        )
    return prompt
