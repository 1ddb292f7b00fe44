"""SPHERE: the change of another method, weakened along the main directions of the weight it changes (Liu et al. 2025,
"Energy-Regularized Sequential Model Editing on Hyperspheres", arXiv 2510.01172, section 4).

W^ is W with every row scaled to length one, G = W^T W^ / d_out its uncentred covariance. U holds the eigenvectors of G
with the largest eigenvalues: as many as carry the share eta of their sum, and one more. The change becomes
dW (I - alpha U U^T), so that inputs along the directions that all rows share are moved less.

U is taken from the weights as they are when the edit is made, so in a sequence from the edited ones, as the authors do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from editing.delta import Dense, LowRank, WeightChange
from editing.lazy import torch
from editing.methods.base import setting
from editing.methods.wrappers.reworked import Reworked
from editing.model import LanguageModel, linear_shape
from editing.text import EditRequest


@dataclass(frozen=True)
class Sphere(Reworked):
    """Both settings are shares, the same in both presets."""

    name: ClassVar[str] = "sphere"
    summary: ClassVar[str] = "any method's change, weakened along the weight's main directions (Liu et al. 2025)"

    inner: str = "alphaedit"
    eta: float = setting(0.5, "share of the eigenvalues whose directions are main ones")
    alpha: float = setting(0.5, "share of the change along them that is taken away")

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("eta", "alpha"):
            if getattr(self, key) > 1:
                raise self.refuse(key, "a share, at most 1")

    def reworked(
        self, lm: LanguageModel, name: str, change: WeightChange, requests: Sequence[EditRequest]
    ) -> WeightChange:
        basis = main_directions(oriented_weight(lm, name), self.eta)
        if isinstance(change, LowRank):
            return LowRank(change.left, change.right - self.alpha * basis @ (basis.T @ change.right))
        return Dense(change.matrix - self.alpha * (change.matrix @ basis) @ basis.T)


def oriented_weight(lm: LanguageModel, name: str) -> torch.Tensor:
    """(d_out, d_in) the weight called `name` as it is now, float32 in main memory."""
    shape = linear_shape(lm.submodule(name.removesuffix(".weight")))
    stored = lm.values(name).float().cpu()
    return stored.T if shape is not None and shape[2] else stored


def main_directions(weight: torch.Tensor, eta: float) -> torch.Tensor:
    """(d_in, r) orthonormal, float32: the eigenvectors of the row-normalised weight that carry the share `eta`."""
    rows = weight.double()
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-8)
    _, singular, vectors = torch.linalg.svd(rows, full_matrices=False)
    share = (singular**2).cumsum(0) / (singular**2).sum()
    count = min(int((share <= eta).sum()) + 1, len(singular))
    return vectors[:count].T.float().contiguous()
