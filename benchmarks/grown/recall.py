"""What a grown rung knows: greedy recall of the sentences it was trained on and of those held back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.grown.corpus import KINDS, Corpus, Sentence
from editing.lazy import torch
from editing.text import whole_ids

SAMPLE = 400


def answered(model: Any, tokenizer: Any, sentences: Sequence[Sentence], batch: int = 64) -> list[bool]:
    """Whether greedy decoding after each prompt gives the target: every target token is the most probable one."""
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i].text))
    right = [False] * len(sentences)
    device = next(model.parameters()).device
    head = model.get_output_embeddings()
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        whole = whole_ids(tokenizer, [(sentences[i].prompt, sentences[i].target) for i in part])
        texts = [text for text, _ in whole]
        ids = torch.full((len(part), 1 + max(map(len, texts))), tokenizer.eos_token_id)
        places = torch.zeros_like(ids, dtype=torch.bool)
        for row, text in enumerate(texts):
            ids[row, 1 : 1 + len(text)] = torch.tensor(text)
            places[row, 1 + whole[row][1] : 1 + len(text)] = True
        with torch.no_grad():
            hidden = model.base_model(
                ids.to(device), attention_mask=torch.ones_like(ids, device=device), use_cache=False
            ).last_hidden_state
            said = head(hidden[:, :-1][places[:, 1:].to(device)]).argmax(-1).cpu()
        wrong = torch.zeros(len(part), dtype=torch.long).index_add_(
            0, places.nonzero()[:, 0], (said != ids[places]).to(torch.long)
        )
        for i, errors in zip(part, wrong.tolist(), strict=True):
            right[i] = errors == 0
    return right


def measure_recall(model: Any, tokenizer: Any, corpus: Corpus) -> dict[str, dict[str, dict[str, float]]]:
    """kind -> language -> {recall, chance, n}, over at most SAMPLE evenly spaced sentences of each kind and language.

    `chance` is what always giving the most frequent answer of the relation would score.
    """
    out: dict[str, dict[str, dict[str, float]]] = {}
    for kind in KINDS:
        for lang in corpus.langs:
            every = corpus.sentences(kind, lang)
            some = [every[i * len(every) // SAMPLE] for i in range(SAMPLE)] if len(every) > SAMPLE else every
            if some:
                right = answered(model, tokenizer, some)
                scores = {"recall": sum(right) / len(some), "chance": corpus.chance(some), "n": len(some)}
                out.setdefault(kind, {})[lang] = {key: round(value, 4) for key, value in scores.items()}
    return out
