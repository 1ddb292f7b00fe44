"""What a search for v* is given and what it returns: settings, the places where delta is added, and the value found."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from editing.errors import BadRequest
from editing.model.language_model import LanguageModel
from editing.model.sites import Site

PRECISIONS = ("float32", "bfloat16", "auto")
OPTIMISERS = ("adam", "gauss_newton")


@dataclass(frozen=True)
class ValueSettings:
    """How v* is searched.

    Attributes:
        optimiser: "adam", as in the papers, or "gauss_newton", which needs about a third of the passes and ends at
            smaller changes (see editing/solve/solvers.py).
        steps: largest number of passes; the last one only measures, as in the ROME code.
        lr: learning rate of Adam.
        kl: weight of the KL term. weight_decay: weight of ||delta|| / ||v0||^2.
        clamp: largest ||delta|| / ||v0||.
        stop_loss: a request is finished when its loss is below; for Gauss-Newton its negative log-likelihood alone,
            nats.
        contexts_per_step: prefixed contexts drawn per step beside the bare prompts; 0 means all.
        precision: "float32"; "bfloat16"; or "auto", bfloat16 where it is faster.

    Raises:
        BadRequest: an unknown optimiser or precision.
    """

    optimiser: str = "adam"
    steps: int = 20
    lr: float = 0.5
    kl: float = 0.0625
    weight_decay: float = 0.5
    clamp: float = 4.0
    stop_loss: float = 0.05
    contexts_per_step: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for key, allowed in (("precision", PRECISIONS), ("optimiser", OPTIMISERS)):
            if getattr(self, key) not in allowed:
                raise BadRequest(f"{key}={getattr(self, key)!r}; it must be one of {', '.join(allowed)}")

    @classmethod
    def of(cls, method: Any) -> ValueSettings:
        """The settings of a method that has them under the same names."""
        return cls(**{f.name: getattr(method, f.name) for f in fields(cls)})


@dataclass(frozen=True, eq=False)
class Value:
    """delta, v0: (size,) float32; loss: the last one measured, nats; steps: passes made."""

    delta: torch.Tensor
    v0: torch.Tensor
    loss: float
    steps: int

    def note(self) -> dict[str, float]:
        """The summary of the search in a delta's provenance."""
        return {"loss": self.loss, "steps": self.steps, "delta_norm": float(self.delta.norm())}


@dataclass(frozen=True)
class Injection:
    """Where delta is added: a module's output at the lookup position, on all or some of its rows."""

    path: str
    layer: int
    rows: tuple[int, ...] | None = None

    @classmethod
    def at_site(cls, site: Site) -> Injection:
        return cls(site.path, site.layer, site.rows)

    @classmethod
    def at_block(cls, lm: LanguageModel, layer: int) -> Injection:
        return cls(lm.layout.blocks[layer], layer)


def uses_half(lm: LanguageModel, precision: str) -> bool:
    """Whether a search of this `precision` runs on the bfloat16 copy of the weights."""
    return precision == "bfloat16" or (precision == "auto" and lm.half_wins)
