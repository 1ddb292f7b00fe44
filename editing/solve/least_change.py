"""The least change of a linear classifier's rows under which every state gets its token with a margin.

Given states k_j, the logits z_j that they have and a token t_j each, over changes D (rows of the vocabulary, d):

    minimise   tr(D M D^T)
    so that    z_j[t_j] + (D k_j)[t_j] >= z_j[v] + (D k_j)[v] + margin    for every j and every other token v.

This is the multiclass support vector machine with a hard margin (Crammer and Singer 2001, "On the Algorithmic
Implementation of Multiclass Kernel-based Vector Machines", eq. 4), about logits that are there already and in the
metric M; multinomial logistic regression with a penalty goes to the same solution as the penalty goes to zero (Rosset,
Zhu and Hastie 2003, "Margin Maximizing Loss Functions"). It is convex, and D = sum_j a_j (M^-1 k_j)^T, so that only
the products k_i^T M^-1 k_j matter. Of the constraints, one per state and token of the vocabulary, only those are held
that a solution has broken (cutting planes); the dual is solved by coordinate ascent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from editing.lazy import torch

TOLERANCE = 1e-3  # nats by which a constraint may be missed while solving; the margin is raised by as much
ROUNDS, SWEEPS = 200, 5_000


@dataclass(frozen=True, eq=False)
class LeastChange:
    """Tokens whose rows change, and (tokens, states) float64 weights a of M^-1 k_j in them.

    Attributes:
        missed: nats by which the worst constraint is missed; above 0 where there is no such change, or it was not
            found.
    """

    tokens: list[int]
    weights: torch.Tensor
    missed: float


def least_change(gram: torch.Tensor, logits: torch.Tensor, targets: list[int], margin: float) -> LeastChange:
    """The solution of the program at the head of this file.

    Args:
        gram: (n, n) float64, k_i^T M^-1 k_j. logits: (n, vocabulary) z. targets: t.
    """
    n = len(targets)
    margin += TOLERANCE
    every = torch.arange(n)
    own = torch.tensor(targets)
    tokens = sorted(set(targets))
    cuts: dict[tuple[int, int], None] = {}  # (state, other token)
    dual = np.zeros(0)
    weights = torch.zeros(len(tokens), n, dtype=torch.float64)
    missed = float("inf")
    for _ in range(ROUNDS):
        now = logits.to(torch.float64, copy=True)
        now[:, tokens] += gram @ weights.T
        others = now.clone()
        others[every, own] = -torch.inf
        rival, which = others.max(1)
        gaps = margin - (now[every, own] - rival)
        missed = float(gaps.max()) - TOLERANCE
        new = [(j, int(which[j])) for j in range(n) if gaps[j] > TOLERANCE and (j, int(which[j])) not in cuts]
        if not new:
            break
        cuts |= dict.fromkeys(new)
        tokens = sorted({*tokens, *(v for _, v in new)})
        dual, weights = _solve(gram.numpy(), logits, targets, margin, list(cuts), tokens, dual)
    return LeastChange(tokens, weights, max(missed, 0.0))


def _solve(
    gram: np.ndarray,
    logits: torch.Tensor,
    targets: list[int],
    margin: float,
    cuts: list[tuple[int, int]],
    tokens: list[int],
    start: np.ndarray,
) -> tuple[np.ndarray, torch.Tensor]:
    """The dual weights of `cuts`, from `start` on, and those of `LeastChange`."""
    row = {token: i for i, token in enumerate(tokens)}
    states = np.array([j for j, _ in cuts])
    signs = np.zeros((len(cuts), len(tokens)))
    for c, (j, other) in enumerate(cuts):
        signs[c, row[targets[j]]], signs[c, row[other]] = 1.0, -1.0
    need = np.array([margin - float(logits[j, targets[j]]) + float(logits[j, other]) for j, other in cuts])
    products = (signs @ signs.T) * gram[np.ix_(states, states)]
    dual = np.concatenate([start, np.zeros(len(cuts) - len(start))])
    slope, diagonal = products @ dual - need, products.diagonal().copy()
    for _ in range(SWEEPS):
        largest = 0.0
        for c in range(len(cuts)):
            step = max(-slope[c] / diagonal[c], -dual[c])
            if step:
                dual[c] += step
                slope += step * products[:, c]
                largest = max(largest, abs(step) * diagonal[c])
        if largest < TOLERANCE / 10:
            break
    weights = np.zeros((len(gram), len(tokens)))
    np.add.at(weights, states, dual[:, None] * signs)
    return dual, torch.from_numpy(weights.T.copy())
