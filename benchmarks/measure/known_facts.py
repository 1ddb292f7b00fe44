"""How many facts of the world a model knows: a third strength axis, beside bits per byte and size.

A fixed sample of the world facts (countries, CLDR and GeoNames) is evaluated in three sentences each, in English and in
French; a fact is known when at least two thirds of its sentences are answered right among up to 20 candidates, scored
as every probe is (benchmarks/measure/answers.py). Cached by weight hash and by the questions. The same questions say
how far answers in bfloat16 are from the model's own (`half_agreement`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.cases import Probe
from benchmarks.datasets import ask, turns
from benchmarks.measure.answers import KNOWN_SHARE, PRIOR_WEIGHT, choice_priors, picked
from benchmarks.measure.stored_base import stored_table
from benchmarks.measure.strength import kept
from benchmarks.world import knowledge
from editing.cache import cache_root
from editing.eval import Race, continuation_logprobs, replies
from editing.lazy import pandas as pd
from editing.model import LanguageModel

FACTS, SENTENCES = 40, 3
QUESTIONS = 24  # of `half_agreement`


@dataclass(frozen=True)
class KnownRates:
    """Shares of the sampled facts that the model knows in each language, in [0, 1]; facts: the size of the sample."""

    en: float
    fr: float
    facts: int


def sample(lang: str) -> list[list[Probe]]:
    """The sentences of every sampled fact, relations taking turns, the best known countries first."""
    known = knowledge()
    relations = [r for r in known.relations() if known.relation(r).subject_kind == "country"]
    facts = turns([known.facts_of(r) for r in relations])[:FACTS]
    return [[ask(known, "efficacy", fact, lang, template) for template in range(SENTENCES)] for fact in facts]


def known_rates(lm: LanguageModel, *, cache: Path | None = None) -> KnownRates:
    """Asks `lm`, or reads what was measured before.

    Args:
        cache: cache root instead of `cache_root()`.

    Raises:
        BadData: the cache cannot be written.
    """
    samples = {lang: sample(lang) for lang in ("en", "fr")}
    content = [
        [lang, p.prompt, p.prior, p.candidates, p.answer] for lang, facts in samples.items() for f in facts for p in f
    ]
    key = json.dumps([content, PRIOR_WEIGHT, KNOWN_SHARE, lm.prefix_ids])

    def make() -> dict[str, float]:
        return asdict(KnownRates(_share(lm, samples["en"]), _share(lm, samples["fr"]), FACTS))

    return kept("known-", lm, key, lambda found: KnownRates(**found), make, cache)


def _share(lm: LanguageModel, facts: list[list[Probe]]) -> float:
    """The share of `facts`, each by its sentences, that the model knows."""
    probes = [p for fact in facts for p in fact]
    priors = choice_priors(lm, probes)
    races = [Race(prior) for prior in priors]  # only the winner matters
    said = replies(lm, [p.prompt for p in probes], [p.candidates for p in probes], races=races)
    right = [picked(r.logp - q) == p.answer for p, r, q in zip(probes, said, priors, strict=True)]
    hits = np.array(right).reshape(len(facts), -1).sum(1)
    return float((hits >= KNOWN_SHARE * SENTENCES).mean())


@dataclass(frozen=True)
class Agreement:
    """Of `questions`, how many have the same best candidate in both number formats.

    Attributes:
        typical, largest: nats, standard deviation and largest size of the change of the right answer's margin over
            the best other candidate.
    """

    questions: int
    same: int
    typical: float
    largest: float

    def line(self) -> str:
        """One line for a terminal."""
        return (
            f"questions are evaluated in bfloat16: {self.same} of {self.questions} unedited answers are the "
            f"model's, margins change by {self.typical:.2g} nats (largest {self.largest:.2g})"
        )


def half_agreement(lm: LanguageModel) -> Agreement:
    """`lm` beside `lm.half` on the first sentence of known facts; measured once per model, then read from the cache.

    Raises:
        BadModel: there is no bfloat16 copy of a model that is spread over devices. BadData: the cache is not writable.
    """
    probes = [sentences[0] for sentences in sample("en")[:QUESTIONS]]

    def make() -> pd.DataFrame:
        own, half = (_margins(model, probes) for model in (lm, lm.half))
        moved = own[1] - half[1]
        same = int((own[0] == half[0]).sum())
        return pd.DataFrame([asdict(Agreement(len(probes), same, float(moved.std()), float(np.abs(moved).max())))])

    questions = [[p.prompt, p.prior, p.candidates, p.answer] for p in probes]
    table = stored_table(cache_root() / "agreement", lm, ["bfloat16", PRIOR_WEIGHT, questions], make)
    return Agreement(**{str(name): value for name, value in table.iloc[0].items()})


def _margins(lm: LanguageModel, probes: Sequence[Probe]) -> tuple[np.ndarray, np.ndarray]:
    """Index of the best candidate of each probe, and its answer's margin in nats."""
    logp = continuation_logprobs(lm, [p.prompt for p in probes], [p.candidates for p in probes])
    scores = [own - prior for own, prior in zip(logp, choice_priors(lm, probes), strict=True)]
    margins = [s[p.answer] - np.delete(s, p.answer).max() for s, p in zip(scores, probes, strict=True)]
    return np.array([int(s.argmax()) for s in scores]), np.array(margins)
