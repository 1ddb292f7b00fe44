"""Which entities of RAVEL a model knows: the prompts of each attribute that it answers best, then entities in a random
order until enough are known.

RAVEL too is cut to the entities and prompts that a model answers (Huang et al. 2024). Known is what greedy decoding
answers with the text of the file, every token of it, as in all readings here. Prompts are chosen by successive halving,
all of them on a few entities, the better ones on more. Entities known by another attribute are queried first: a swap
needs an entity with two known attributes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure import stored_table
from benchmarks.readings.prompts.answers import answer_scores
from benchmarks.readings.prompts.material import Material
from benchmarks.readings.prompts.ravel import Ravel
from benchmarks.text import short
from editing.cache import cache_root
from editing.files import digest
from editing.lazy import pandas as pd
from editing.model import LanguageModel
from editing.progress import progress
from editing.text import tokenise, with_beginnings

VERSION = 1  # raise it when the same model and files would give other entities than before
LIMIT = 24  # known entities of an attribute where no other number is given
TRIALS = ((8, 12), (24, 3))  # of the halving: entities that the prompts left are tried on, prompts kept
BATCH = 48  # entities that are queried together
MOST = 40  # entities examined per entity sought, at most


@dataclass(frozen=True)
class Examined:
    """How the entities of one attribute were found.

    Attributes:
        entities: in the file. without: of these, how many have no answer there. examined: evaluated in the best prompt.
        known: of these, answered right. kept: of these, how many are read. answers: how many different answers
            these have. sought: how many entities there should be. template: the best prompt.
    """

    relation: str
    entities: int
    without: int
    examined: int
    known: int
    kept: int
    answers: int
    sought: int
    template: str

    @property
    def line(self) -> str:
        """The counts as a sentence."""
        left = self.entities - self.without - self.examined
        enough = "that is enough" if self.kept >= self.sought else f"at most {MOST} per entity sought are examined"
        rest = f"{left:,} were not examined ({enough})" if left else "no more are left"
        without = f"; {self.without:,} have no answer in the file" if self.without else ""
        prompt = short(self.template.replace("{{", "{").replace("}}", "}"), 60, end=True)
        return (
            f"{self.relation}: {self.kept} known entities with {self.answers} answers are read; {self.known:,} of "
            f"{self.examined:,} examined are known, {rest}{without}; best prompt: {prompt}"
        )


def known_material(
    lm: LanguageModel, ravel: Ravel, limit: int = 0, seed: int = 0, show: bool = True
) -> tuple[Material, tuple[Examined, ...]]:
    """Questions about up to `limit` known entities of each attribute, in its best prompts, and how they were found.

    What an attribute's search has measured is kept in the cache, so that an interrupted one goes on with the next.

    Args:
        limit: 0 means LIMIT. show: whether a bar says how many entities are found.
    """
    limit = limit or LIMIT
    order = random.Random(f"{seed}/ravel/{ravel.kind}").sample(sorted(ravel.answers), len(ravel.answers))
    found: Counter[str] = Counter()
    questions, examined = [], []
    with progress(len(ravel.templates), f"{lm.name} known entities: ", "attributes", show=show) as bar:
        for relation, templates in ravel.templates.items():
            # A stable sort: entities known by more attributes first, the others as drawn.
            names = sorted((name for name in order if ravel.answers[name].get(relation)), key=lambda name: -found[name])
            answers = [(name, ravel.answers[name][relation]) for name in names]
            identity = [VERSION, ravel.kind, relation, digest([templates, answers, TRIALS, BATCH, MOST]), limit]
            table = stored_table(
                cache_root() / "ravel", lm, identity, lambda r=relation, n=names: _examine(lm, ravel, r, n, limit)
            )
            best = _best(table, names[: TRIALS[-1][0]], TRIALS[-1][1])
            own = table[table["wording"] == best[0]]
            known = own.loc[own["right"], "entity"].tolist()
            kept = known[:limit]
            found.update(kept)
            questions += [ravel.question(name, relation, wording) for wording in best for name in kept]
            different = len({ravel.answers[name][relation] for name in kept})
            counts = (len(order), len(order) - len(names), len(own), len(known), len(kept), different, limit)
            examined.append(Examined(relation, *counts, templates[best[0]]))
            bar.update(1)
    return Material(f"ravel:{ravel.kind}", ("en",), tuple(questions)), tuple(examined)


def _examine(lm: LanguageModel, ravel: Ravel, relation: str, names: Sequence[str], limit: int) -> pd.DataFrame:
    """wording, entity, right: every question, in that order."""
    table = pd.DataFrame({"wording": pd.Series(dtype="int64"), "entity": "", "right": pd.Series(dtype="bool")})

    def ask(pairs: list[tuple[int, str]]) -> None:
        nonlocal table
        questions = [ravel.question(name, relation, wording) for wording, name in pairs]
        prompts = [tokenise(lm, q.template, q.subject, "subject_last", q.target) for q in questions]
        prompts = with_beginnings(prompts, [wording for wording, _ in pairs])
        right = answer_scores(lm, prompts).exact.tolist()
        new = pd.DataFrame(pairs, columns=["wording", "entity"]).assign(right=right)
        table = pd.concat([table, new], ignore_index=True) if len(table) else new

    wordings, at = list(range(len(ravel.templates[relation]))), 0
    for count, kept in TRIALS:
        if names[at:count]:
            ask([(wording, name) for wording in wordings for name in names[at:count]])
        at = min(count, len(names))
        wordings = _best(table, names[:at], kept)
    most = min(len(names), max(at, MOST * limit))
    while at < most and table.loc[table["wording"] == wordings[0], "right"].sum() < limit:
        ask([(wordings[0], name) for name in names[at : min(at + BATCH, most)]])
        at = min(at + BATCH, most)
    return table


def _best(table: pd.DataFrame, names: Sequence[str], count: int) -> list[int]:
    """The `count` prompts that were answered right for most of `names`, of those put to all, best first."""
    own = table[table["entity"].isin(set(names))].groupby("wording")["right"].agg(["size", "sum"])
    own = own[own["size"] == len(names)].sort_values("sum", ascending=False, kind="stable")
    return own.index[:count].tolist()
