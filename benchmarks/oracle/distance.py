"""How far apart two models are on the same questions: Jensen-Shannon divergence of their candidate distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.cases import Case
from editing.delta import Delta
from editing.eval import continuation_logprobs
from editing.model import LanguageModel

MOST = float(np.log(2))  # nats: the divergence of two distributions that share no answer


def probabilities(
    lm: LanguageModel, cases: Sequence[Case], deltas: Sequence[Delta] = ()
) -> list[list[np.ndarray | None]]:
    """Per case, per probe: (m,) P(candidate) among the probe's candidates, full strings; None without candidates.

    Args:
        deltas: one per case, under which it is evaluated; none for the model as it stands.
    """
    places = [(i, j) for i, case in enumerate(cases) for j, p in enumerate(case.probes) if p.candidates]
    probes = [cases[i].probes[j] for i, j in places]
    rows = [i for i, _ in places] if deltas else None
    logp = continuation_logprobs(lm, [p.prompt for p in probes], [p.candidates for p in probes], deltas, rows)
    out: list[list[np.ndarray | None]] = [[None] * len(case.probes) for case in cases]
    for (i, j), one in zip(places, logp, strict=True):
        share = np.exp(one - one.max())
        out[i][j] = share / share.sum()
    return out


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence of two distributions, both (m,), in nats: 0 where equal, log 2 where disjoint.
    NaN where one of them holds a NaN: the model gave no numbers.

    Source: Lin 1991, "Divergence measures based on the Shannon entropy", eq. 4.1 with equal weights.
    """
    if np.isnan(p).any() or np.isnan(q).any():
        return float("nan")
    middle = (p + q) / 2
    return max(0.0, (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2)


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    positive = p > 0
    return float(np.sum(p[positive] * np.log(p[positive] / q[positive])))
