"""Muon: momentum whose step is orthogonalised, for the matrices inside a network; AdamW for everything else.

Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024
(kellerjordan.github.io/posts/muon): quintic Newton-Schulz iteration with coefficients (3.4445, -4.7750, 2.0315),
Nesterov momentum, step scaled by sqrt(max(1, rows / columns)). Written here for speed on small networks: matrices of
one shape are orthogonalised as one batch, and a matrix that is three squares side by side (fused query, key, value) as
three.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(batch: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Nearly orthogonal matrices: singular values of each (rows, columns) matrix of `batch` moved to 0.7..1.2.

    Shapes: (n, rows, columns) in and out; computed in the dtype of `batch`.
    """
    a, b, c = COEFFICIENTS
    x = batch.mT if batch.shape[1] > batch.shape[2] else batch
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if batch.shape[1] > batch.shape[2] else x


def squares(matrix: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """`matrix` as three square blocks where it is exactly that (views), else as itself."""
    rows, columns = matrix.shape
    if columns == 3 * rows:
        return matrix.split(rows, dim=1)
    return matrix.split(columns, dim=0) if rows == 3 * columns else (matrix,)


class Muon:
    """Muon over matrices of one shape. `step(gradients, lr)` changes the parameters in place.

    Args:
        matrices: parameters (or views of them), all (rows, columns) of one shape.
        transposed: the weights act as `x @ W` (transformers' Conv1D), so that outputs are columns.
        dtype: of the orthogonalisation (bfloat16 is enough and fast where the hardware has it).
    """

    def __init__(
        self,
        matrices: Sequence[torch.Tensor],
        transposed: bool,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.matrices = [m.detach() for m in matrices]
        self.momentum, self.dtype = momentum, dtype
        rows, columns = self.matrices[0].shape
        outputs, inputs = (columns, rows) if transposed else (rows, columns)
        self.scale = max(1.0, outputs / inputs) ** 0.5
        self.velocity = torch.zeros(len(self.matrices), rows, columns, device=self.matrices[0].device)

    def moments(self) -> list[torch.Tensor]:
        """What it remembers between steps; may be copied into."""
        return [self.velocity]

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor], lr: float) -> None:
        gradient = torch.stack(list(gradients))
        self.velocity.lerp_(gradient, 1 - self.momentum)
        update = orthogonalise(gradient.lerp_(self.velocity, self.momentum).to(self.dtype)).float()
        for matrix, change in zip(self.matrices, update.unbind(0), strict=True):
            matrix.sub_(change, alpha=lr * self.scale)


class Adam:
    """Adam without weight decay over any parameters (embeddings, norms, biases), one fused step for all.

    Source: Kingma & Ba 2015, arXiv:1412.6980.
    """

    def __init__(
        self, parameters: Sequence[torch.Tensor], betas: tuple[float, float] = (0.9, 0.98), eps: float = 1e-10
    ) -> None:
        self.parameters = [p.detach() for p in parameters]
        self.betas, self.eps, self.steps = betas, eps, 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    def moments(self) -> list[torch.Tensor]:
        """What it remembers between steps, besides their number; may be copied into."""
        return [*self.first, *self.second]

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor], lr: float) -> None:
        self.steps += 1
        low, high = self.betas
        gradients = list(gradients)
        torch._foreach_lerp_(self.first, gradients, 1 - low)
        torch._foreach_mul_(self.second, high)
        torch._foreach_addcmul_(self.second, gradients, gradients, 1 - high)
        scale = torch._foreach_div(self.second, 1 - high**self.steps)
        torch._foreach_sqrt_(scale)
        torch._foreach_add_(scale, self.eps)
        torch._foreach_addcdiv_(self.parameters, self.first, scale, -lr / (1 - low**self.steps))
