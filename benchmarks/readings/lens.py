"""Lens: at which depth the answer stands first when the state at the end of the prompt is read by the model's own head.

The logit lens (nostalgebraist 2020, "interpreting GPT: the logit lens"): final norm and unembedding applied to the
output of every block. Only facts that the model answers right are read, by the first token of the answer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from benchmarks.readings.base import Reading, Row, row
from benchmarks.readings.prompts import ReadingInput, block_states, read_out
from editing.lazy import torch
from editing.solve import setting


@dataclass(frozen=True)
class Lens(Reading):
    """Facts of one relation and language share a row."""

    name: ClassVar[str] = "lens"
    summary: ClassVar[str] = "depth at which the answer is first read off the state (logit lens)"
    measures: ClassVar[dict[str, str]] = {
        "answer_top1": "share of facts whose answer is the most probable token at this layer",
        "answer_logp": "mean log-probability of the answer's first token at this layer, nats",
        "first_top1": "mean depth, from 0 to 1, of the first layer where the answer is the most probable token",
    }

    facts: int = setting(60, "largest number of facts per relation and language", unit="facts", least=2)

    def rows(self, source: ReadingInput) -> list[Row]:
        out = []
        layers = self.chosen_layers(0, source.lm.n_layers - 1)
        for relation in source.material.relations:
            for lang in source.material.langs:
                places = source.best_wording(relation, lang)
                random.Random(f"{self.seed}/lens/{relation}/{lang}").shuffle(places)
                out += self._relation(source, relation, lang, places[: self.facts], layers)
        return out

    def _relation(
        self, source: ReadingInput, relation: str, lang: str, places: list[int], layers: list[int]
    ) -> list[Row]:
        about = {"position": "last", "lang": lang, "relation": relation, "n": len(places)}
        if len(places) < 2:
            return [row("first_top1", np.nan, **about)]
        ends = [replace(p, lookup=p.start - 1) for p in (source.prompts[i] for i in places)]
        answers = [p.target[0] for p in ends]
        others = other_answers(answers, random.Random(f"{self.seed}/lens/others/{relation}/{lang}"))
        states = block_states(source.lm, ends, layers)
        out, firsts = [], {"none": np.ones(len(places)), "other_answer": np.ones(len(places))}
        for at in reversed(range(len(layers))):
            logits = read_out(source.lm, states[:, at]).log_softmax(-1)
            top, depth = logits.argmax(1), (layers[at] + 1) / source.lm.n_layers
            for control, tokens in (("none", answers), ("other_answer", others)):
                expected = torch.tensor(tokens)
                hit = (top == expected).numpy()
                firsts[control] = np.where(hit, depth, firsts[control])
                logp = logits[torch.arange(len(places)), expected].mean()
                there = about | {"layer": layers[at], "control": control}
                out += [row("answer_top1", hit.mean(), **there), row("answer_logp", float(logp), **there)]
        for control, depths in firsts.items():
            out.append(row("first_top1", depths.mean(), control=control, **about))
        return out


def other_answers(answers: Sequence[int], rng: random.Random) -> list[int]:
    """For each fact an answer of another fact, unlike its own where there is one: what the relation makes likely for
    any subject."""
    out = []
    for answer in answers:
        rest = [other for other in answers if other != answer]
        out.append(rng.choice(rest) if rest else answer)
    return out
