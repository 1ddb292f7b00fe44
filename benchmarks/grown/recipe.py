"""How long a grown rung is trained and with which steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How long and with which steps to train.

    Attributes:
        tokens: training tokens in all, about (padding not counted, see `steps`).
        length: longest document; also the model's number of positions.
        batch: positions per step, padding included.
        alone: part of the training in which every document is one sentence. Unrelated sentences before a fact slow its
            learning down, so company comes last.
        company: from then on, fraction of the documents that have 2 to 8 sentences, as prompts with a context will.
        matrix_lr: Muon's step for the hidden matrices. embedding_lr, vector_lr: Adam's for embeddings and for norms and
            biases.
        warmup, decay: fractions of the steps with a rising, and a falling, step size.
    """

    tokens: int = 700_000
    length: int = 128
    batch: int = 768
    alone: float = 0.7
    company: float = 0.1
    matrix_lr: float = 0.015
    embedding_lr: float = 0.01
    vector_lr: float = 0.005
    warmup: float = 0.02
    decay: float = 0.5

    @property
    def steps(self) -> int:
        return max(1, round(self.tokens / self.batch))

    def pace(self, step: int) -> float:
        """Factor of all step sizes: up, level, down to nearly zero."""
        done = (step + 0.5) / self.steps
        return min(1.0, done / max(self.warmup, 1e-9), (1 - done) / max(self.decay, 1e-9))
