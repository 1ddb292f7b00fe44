"""The least change under which states get their tokens, against a literal solution with every constraint written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from editing.solve.least_change import TOLERANCE, least_change


def literal_change(
    states: np.ndarray, metric: np.ndarray, logits: np.ndarray, targets: list[int], margin: float
) -> np.ndarray:
    """(vocabulary, d) by least distance programming (Lawson and Hanson 1974, chapter 23.4): min ||x|| so that G x >= h,
    from the nonnegative least squares of [G^T; h^T] u = (0, ..., 0, 1). x is the change times the metric's root."""
    vocabulary = logits.shape[1]
    inverse_root = np.linalg.inv(np.linalg.cholesky(metric))
    rows, needs = [], []
    for state, own, target in zip(states, logits, targets, strict=True):
        for other in set(range(vocabulary)) - {target}:
            row = np.zeros((vocabulary, len(metric)))
            row[target], row[other] = inverse_root @ state, -inverse_root @ state
            rows.append(row.ravel())
            needs.append(margin - own[target] + own[other])
    stacked = np.vstack([np.array(rows).T, needs])
    goal = np.zeros(len(stacked))
    goal[-1] = 1.0
    rest = stacked @ nnls(stacked, goal, maxiter=100_000)[0] - goal
    return (-rest[:-1] / rest[-1]).reshape(vocabulary, -1) @ inverse_root


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_literal_solution(seed: int) -> None:
    draw = np.random.default_rng(seed)
    states, logits = draw.normal(size=(4, 6)), 2 * draw.normal(size=(4, 9))
    root = draw.normal(size=(6, 6))
    metric, targets = root @ root.T + 0.1 * np.eye(6), [0, 3, 3, 5]
    gram = torch.from_numpy(states @ np.linalg.solve(metric, states.T))
    found = least_change(gram, torch.from_numpy(logits).float(), targets, 0.7)
    change = np.zeros((9, 6))
    change[found.tokens] = found.weights.numpy() @ np.linalg.solve(metric, states.T).T
    literal = literal_change(states, metric, logits, targets, 0.7)
    assert found.missed == 0
    assert np.trace(change @ metric @ change.T) == pytest.approx(np.trace(literal @ metric @ literal.T), rel=0.01)
    assert np.linalg.norm(change - literal) < 0.02 * np.linalg.norm(literal)
    after = logits + states @ change.T
    for row, target in zip(after, targets, strict=True):
        assert row[target] - np.delete(row, target).max() >= 0.7 - 1e-6


def test_what_leads_already_changes_nothing() -> None:
    found = least_change(torch.eye(2, dtype=torch.float64), 5 * torch.eye(2), [0, 1], 1.0)
    assert found.missed == 0 and not found.weights.any()


def test_one_state_cannot_have_two_tokens() -> None:
    gram = torch.ones(2, 2, dtype=torch.float64)
    assert least_change(gram, torch.zeros(2, 3), [0, 1], 1.0).missed > 0.9 - TOLERANCE
