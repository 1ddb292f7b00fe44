"""How far answers in bfloat16 are from the model's own, on fixed questions about the world, without an edit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from benchmarks.cases import Probe
from benchmarks.measure.answers import PRIOR_WEIGHT
from benchmarks.measure.known_facts import sample
from benchmarks.measure.stored_base import stored_table
from editing.cache import cache_root
from editing.eval import continuation_logprobs
from editing.model import LanguageModel

QUESTIONS = 24


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
            f"questions are asked in bfloat16: {self.same} of {self.questions} unedited answers are those of the model "
            f"itself, margins change by {self.typical:.2g} nats (largest {self.largest:.2g})"
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
    return Agreement(**table.iloc[0].to_dict())


def _margins(lm: LanguageModel, probes: Sequence[Probe]) -> tuple[np.ndarray, np.ndarray]:
    """Index of the best candidate of each probe, and its answer's margin in nats."""
    texts = dict.fromkeys((text, p.candidates) for p in probes for text in (p.prompt, p.prior))
    logp = continuation_logprobs(lm, [text for text, _ in texts], [names for _, names in texts])
    table = dict(zip(texts, logp, strict=True))
    scores = [table[p.prompt, p.candidates] - PRIOR_WEIGHT * table[p.prior, p.candidates] for p in probes]
    margins = [s[p.answer] - np.delete(s, p.answer).max() for s, p in zip(scores, probes, strict=True)]
    return np.array([int(s.argmax()) for s in scores]), np.array(margins)
