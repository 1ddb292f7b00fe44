"""The published scoring code, re-stated word for word in effect: one prompt at a time, no batches, no caches, no
padding.

Meng et al. 2022: `test_batch_prediction`, `compute_n_gram_entropy`, `tfidf_similarity` and the successes and
differences of `summarize.py`. EasyEdit: `test_prediction_acc`.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import torch

from editing.model.language_model import LanguageModel


def logits_of(lm: LanguageModel, text: str) -> tuple[list[int], np.ndarray]:
    """The tokens of a text, and log-probabilities (len, vocabulary) whose row i predicts token i."""
    ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = [*lm.prefix_ids, *ids]
    with torch.no_grad():
        logits = lm.module(input_ids=torch.tensor([whole])).logits[0].double()
    nothing = torch.full_like(logits[:1], float("nan"))  # before the first token nothing is predicted
    predicted = torch.cat([nothing, logits[:-1].log_softmax(-1)])
    return ids, predicted[len(lm.prefix_ids) :].numpy()


def mean_nll(lm: LanguageModel, prefix: str, target: str) -> float:
    """Mean over the target's tokens of -log P, as `test_batch_prediction` has it."""
    start = len(lm.tokenizer(prefix, add_special_tokens=False)["input_ids"])
    ids, predicted = logits_of(lm, f"{prefix} {target}")
    total = 0.0
    for j in range(start, len(ids)):
        total += -float(predicted[j, ids[j]])
    return total / (len(ids) - start)


def success(new: float, true: float) -> bool:
    """Of two mean NLLs; for neighbours swap them."""
    return true > new


def difference(new: float, true: float) -> float:
    return float(np.exp(-new) - np.exp(-true))


def likeliest(lm: LanguageModel, prompt: str, target: str) -> tuple[list[int], list[int]]:
    """`answers` and `labels` of `test_prediction_acc`: argmax tokens and right tokens at the target's places."""
    start = len(lm.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    ids, predicted = logits_of(lm, prompt + " " + target)
    return predicted.argmax(-1).tolist()[start:], ids[start:]


def n_gram_entropy(sentence: str) -> float:
    entropies = []
    for n in (2, 3):
        tokens = re.findall(r"\w+|[^\w\s]", sentence)
        freqs = np.array(list(Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)).values()))
        freqs = freqs / freqs.sum()
        entropies.append(np.sum(-freqs * np.log(freqs) / np.log(2)))
    return float(np.mean(np.array(entropies) * np.array([2 / 3, 4 / 3])))


def tfidf_similarity(text_a: str, text_b: str, corpus: list[str]) -> float:
    """With scikit-learn's TfidfVectorizer at its defaults, fitted on `corpus`."""
    split = [re.findall(r"\b\w\w+\b", text.lower()) for text in corpus]
    words = sorted({word for text in split for word in text})
    idf = np.array([np.log((1 + len(split)) / (1 + sum(w in t for t in split))) + 1 for w in words])
    a, b = (np.array([re.findall(r"\b\w\w+\b", t.lower()).count(w) for w in words]) * idf for t in (text_a, text_b))
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))
