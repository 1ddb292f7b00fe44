"""How often each sentence is read in training: equally often, or by Zipf's law over the subjects of the facts.

Source of the law: Zipf 1949, "Human Behavior and the Principle of Least Effort": the frequency of the r-th most
frequent is 1 / r^s.
"""

from __future__ import annotations

import random

import numpy as np

from benchmarks.grown.corpus import Corpus, Sentence

FIFTH = 5


def ranked_subjects(corpus: Corpus, seed: int) -> list[str]:
    """The subjects of all facts, the most frequent first; the order is drawn by the seed."""
    subjects = sorted({s.fact.subject for s in corpus.train if s.fact})
    random.Random(f"{seed}/rank").shuffle(subjects)
    return subjects


def frequencies(corpus: Corpus, exponent: float, seed: int) -> np.ndarray:
    """(sentences,) float64: how often per epoch each training sentence is read, 1 on average.

    Sentences of a fact: proportional to 1 / rank^exponent of its subject, scaled to a mean of 1 over all of them.
        Sentences without a
    fact (names, translations): 1.
    """
    rank = {subject: at for at, subject in enumerate(ranked_subjects(corpus, seed), 1)}
    has_fact = np.array([s.fact is not None for s in corpus.train])
    weight = np.array([rank[s.fact.subject] ** -exponent if s.fact else 1.0 for s in corpus.train])
    weight[has_fact] /= weight[has_fact].mean()
    return weight


def extremes(corpus: Corpus, seed: int) -> dict[str, Corpus]:
    """The part of the corpus about the most frequent fifth of the subjects, and about the rarest fifth.

    Only sentences that state one fact are kept.
    """
    ranked = ranked_subjects(corpus, seed)
    count = max(1, len(ranked) // FIFTH)

    def about(subjects: set[str], sentences: tuple[Sentence, ...]) -> tuple[Sentence, ...]:
        return tuple(s for s in sentences if s.fact and s.fact.subject in subjects)

    ends = {"most_frequent": set(ranked[:count]), "rarest": set(ranked[-count:])}
    return {end: Corpus(about(keys, corpus.spoken), about(keys, corpus.held)) for end, keys in ends.items()}
