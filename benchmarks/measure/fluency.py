"""How a model writes on: entropy of its n-grams, and likeness to a reference text. CounterFact's GE and RS.

Both follow Meng et al. 2022 (ROME, appendix on evaluation, and the published `compute_rewrite_quality_counterfact`):
the prompt is part of the text. Text is greedy here, so that a score needs no seed; words are runs of letters and
digits, every other mark is one by itself (the published code has NLTK's tokenizer, which differs in contractions).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from math import log, log2, sqrt

# Length of a generated text. The published 100 tokens cost 2.5 times as much and begin to measure how a small model
# loops.
FLUENCY_TOKENS = 40
NGRAM_WEIGHTS = {2: 2 / 3, 3: 4 / 3}


def ngram_entropy(text: str) -> float:
    """Mean of the weighted entropies (bits) of the text's 2-grams and 3-grams; 0 for a text that repeats or has no
    2-gram."""
    words = re.findall(r"\w+|[^\w\s]", text)
    return sum(weight * _entropy(words, n) for n, weight in NGRAM_WEIGHTS.items()) / len(NGRAM_WEIGHTS)


def _entropy(words: list[str], n: int) -> float:
    counts = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    total = counts.total()
    return sum(c / total * log2(total / c) for c in counts.values())


def inverse_frequencies(texts: Iterable[str]) -> dict[str, float]:
    """Smoothed inverse document frequency of every word of `texts`: ln((1 + n) / (1 + df)) + 1, as scikit-learn's."""
    documents = list(dict.fromkeys(texts))
    counts = Counter(word for text in documents for word in set(_words(text)))
    return {word: log((1 + len(documents)) / (1 + df)) + 1 for word, df in counts.items()}


def reference_score(text: str, reference: str, frequencies: Mapping[str, float]) -> float:
    """Cosine of two texts' TF-IDF vectors, in [0, 1]; words without a frequency do not count, nothing shared is 0."""
    a, b = (
        {w: c * frequencies[w] for w, c in Counter(_words(t)).items() if w in frequencies} for t in (text, reference)
    )
    norm = sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
    return sum(a[w] * b[w] for w in sorted(a.keys() & b.keys())) / norm if norm else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\b\w\w+\b", text.lower())
