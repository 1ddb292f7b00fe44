"""Subspaces of a layer's states: learned by swaps (DAS), found by means and variances, drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from editing.lazy import torch


@dataclass(frozen=True)
class Training:
    """At most `steps` of Adam with learning rate lr, on `batch` swaps each; they end behind the first pass over all
    swaps whose mean loss is below `enough`."""

    steps: int = 50
    lr: float = 0.02
    batch: int = 24
    enough: float = 0.0


def swapped(base: torch.Tensor, source: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """(n, d) base states whose part in the subspace is that of the source states; basis (d, k) is orthonormal."""
    return base + ((source - base) @ basis) @ basis.T


def learn_subspace(
    loss: Callable[[torch.Tensor, list[int]], torch.Tensor], start: torch.Tensor, n: int, training: Training, seed: int
) -> torch.Tensor:
    """(d, k) orthonormal basis of distributed alignment search (Geiger et al. 2024, "Finding alignments between
    interpretable causal variables and distributed neural representations"): the one that minimises the loss of swaps.

    Args:
        loss: (orthonormal basis, numbers of swaps) -> scalar. start: (d, k) where the search begins. n: swaps in all.
    """
    generator = torch.Generator().manual_seed(seed)
    free = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([free], lr=training.lr)
    order: list[int] = []
    losses: list[float] = []
    a_pass = -(-n // training.batch)
    for _ in range(training.steps):
        if len(order) < min(training.batch, n):
            order += torch.randperm(n, generator=generator).tolist()
        members, order = order[: training.batch], order[training.batch :]
        optimiser.zero_grad()
        with torch.enable_grad():
            value = loss(orthonormal(free), members)
            value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
        if len(losses) % a_pass == 0 and sum(losses[-a_pass:]) < a_pass * training.enough:
            break
    return orthonormal(free.detach())


def orthonormal(matrix: torch.Tensor) -> torch.Tensor:
    """(d, k) orthonormal columns with the span of `matrix` (d, k)."""
    return torch.linalg.qr(matrix)[0]


def random_subspace(d: int, k: int, seed: int) -> torch.Tensor:
    """(d, k) basis of a subspace drawn uniformly."""
    return orthonormal(torch.randn(d, k, generator=torch.Generator().manual_seed(seed)))


def principal_subspace(states: torch.Tensor, k: int) -> torch.Tensor:
    """(d, k) basis of the k directions in which states (n, d) vary most; filled up at random where n - 1 < k."""
    return _leading(states - states.mean(0), k)


def class_subspace(states: torch.Tensor, labels: list[str], k: int) -> torch.Tensor:
    """(d, k) basis of the k directions in which the means of the classes differ most (difference in means, with more
    than two classes); filled up at random where there are fewer."""
    names = sorted(set(labels))
    means = torch.stack([states[[i for i, one in enumerate(labels) if one == name]].mean(0) for name in names])
    return _leading(means - means.mean(0), k)


def _leading(rows: torch.Tensor, k: int) -> torch.Tensor:
    _, size, directions = torch.linalg.svd(rows.double(), full_matrices=False)
    kept = directions[: min(k, int((size > 1e-9 * size.max().clamp(min=1e-30)).sum()))].T.float()
    rest = random_subspace(rows.shape[1], k, 0)
    return orthonormal(torch.cat([kept, rest], 1)[:, :k])
