"""How a change meets weights of few bits: what rounding takes from it, and stochastic rounding, which keeps its mean.

A bfloat16 weight has 8 significant bits: an entry that a change moves by less than half of the last one stays as it
was.
Stochastic rounding (Gupta et al. 2015, "Deep Learning with Limited Numerical Precision", section 3) takes the upper or
the lower neighbour with the probability that makes the expectation exact.
"""

from __future__ import annotations

from dataclasses import dataclass

from editing.lazy import torch


@dataclass(frozen=True)
class Lost:
    """What the number format of the weights took from a change.

    Attributes:
        entries: share of the changed entries that stay as they were.
        norm: Frobenius norm of what is missing or too much, over that of the change.
    """

    entries: float
    norm: float

    def line(self, dtype: str) -> str:
        """One line for a terminal."""
        return (
            f"{dtype} weights: {self.entries:.0%} of the changed entries stay as they were, "
            f"{self.norm:.0%} of the change's norm is lost to rounding"
        )


def stochastic(values: torch.Tensor, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """float32 `values` in a 16-bit `dtype`, each the neighbour above or below; the same ones for the same seed."""
    near = values.to(dtype)
    error = values.float() - near.float()
    away = torch.where(near == 0, error > 0, (error > 0) == (near > 0))  # whether the true value has the larger size
    bits = near.view(torch.int16)
    other = torch.where(away | (near == 0), bits + 1, bits - 1).view(dtype)
    other = torch.where((near == 0) & (error < 0), -other.abs(), other)
    gap = (other.float() - near.float()).abs()
    draw = torch.rand(values.shape, generator=torch.Generator().manual_seed(seed)).to(values.device)
    return torch.where((error != 0) & torch.isfinite(gap) & (draw * gap < error.abs()), other, near)
