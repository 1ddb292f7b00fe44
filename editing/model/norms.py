"""RMS norms that a map's output passes before it joins the residual stream (Gemma 2 and 3, OLMo 2 and 3, GLM-4).

Behind such a norm the length of the map's output means nothing, and what can reach the stream is bounded: gain * y,
with y of one length. A change of the stream has to be carried back through the norm before a weight can make it.
"""

from __future__ import annotations

from dataclasses import dataclass

from editing.lazy import torch
from editing.model.language_model import LanguageModel
from editing.model.sites import Site

# Largest relative error of the formula in a module that counts as an RMS norm; bfloat16 rounds by .004.
LIKENESS = 0.02
SHORT = 1e-3  # root mean square of the input by which epsilon is found
HALVINGS = 100


@dataclass(frozen=True, eq=False)
class OutputNorm:
    """f(x) = gain * x / sqrt(mean of x^2 + epsilon), in float64 on the CPU. `gain`: (d,)."""

    gain: torch.Tensor
    epsilon: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(n, d) of `x` (n, d)."""
        return self.gain * x.double() / self._unit(x)

    def before(self, x: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """(n, d) float32 inputs as long as those of `x` (n, d), whose norm is as near as can be to f(x) + `change`.

        With goal = f(x) + change and y = input / sqrt(mean of squares + epsilon), of fixed length, the nearest gain * y
        is at y = gain goal / (gain^2 + mu) (Lagrange), mu >= 0 the smallest for which y is not too long; a y that is
        too short at mu = 0 is stretched.
        """
        unit = self._unit(x)
        radius = (x.double() / unit).norm(dim=1, keepdim=True)
        goal = self(x) + change.double()
        low, high = torch.zeros_like(radius), (self.gain * goal).norm(dim=1, keepdim=True) / radius
        y = self._scaled_back(goal, low)
        outside = y.norm(dim=1, keepdim=True) > radius
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            long = self._scaled_back(goal, middle).norm(dim=1, keepdim=True) > radius
            low, high = torch.where(long, middle, low), torch.where(long, high, middle)
        y = torch.where(outside, self._scaled_back(goal, high), y)
        return (y * radius / y.norm(dim=1, keepdim=True).clamp(min=1e-30) * unit).float()

    def _unit(self, x: torch.Tensor) -> torch.Tensor:
        return (x.double().square().mean(1, keepdim=True) + self.epsilon).sqrt()

    def _scaled_back(self, goal: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
        """gain goal / (gain^2 + mu); 0 where the gain is 0, where nothing gets through."""
        return torch.where(self.gain == 0, 0.0, self.gain * goal / (self.gain.square() + mu).clamp(min=1e-300))


def output_norm(lm: LanguageModel, site: Site) -> OutputNorm | None:
    """The RMS norm behind a site; None where there is none, or another function."""
    if not site.norm:
        return None
    module, width = lm.module.get_submodule(site.norm), site.d_out

    def call(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return module(x[None, None].to(lm.device, lm.dtype)).double().cpu()[0, 0]

    ones, probe = torch.ones(width), torch.linspace(-1.0, 2.0, width)
    long, short = call(ones), call(SHORT * ones)
    share = float(short.norm() / long.norm().clamp(min=1e-30))  # SHORT / sqrt(SHORT^2 + epsilon), where it is a norm
    norm = OutputNorm(long, max(0.0, SHORT**2 / max(share, 1e-6) ** 2 - SHORT**2))
    formula = norm(probe[None])[0]
    return norm if float((call(probe) - formula).norm()) < LIKENESS * float(formula.norm()) else None
