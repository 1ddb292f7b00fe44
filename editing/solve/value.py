"""v*: the output at the lookup position that makes the model say the target, found for many requests at once.

Meng et al. 2022 (ROME), equation 4: minimise over delta the mean negative log-likelihood of the target over contexts, plus
KL divergence of the next-token distribution after "{subject} is a", plus weight decay; project onto ||delta|| <= c ||v0||.

The problem itself is in editing/solve/objective.py, the ways to solve it in editing/solve/solvers.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from editing.errors import BadRequest
from editing.model.language_model import LanguageModel
from editing.model.sites import Site
from editing.run.batching import Budget
from editing.text.contexts import Contexts

PRECISIONS = ("float32", "bfloat16", "auto")
OPTIMISERS = ("adam", "gauss_newton")


@dataclass(frozen=True)
class ValueSettings:
    """How v* is searched.

    Attributes:
        optimiser: "adam", as the papers have it, or "gauss_newton", which needs about a third of the passes and ends at smaller
            changes (see editing/solve/solvers.py).
        steps: passes of the optimiser at most; the last one only measures, as in the ROME code.
        lr: of Adam.
        kl: weight of the KL term. weight_decay: weight of ||delta|| / ||v0||^2.
        clamp: largest ||delta|| / ||v0||.
        stop_loss: a request is finished when its loss is below; for Gauss-Newton its negative log-likelihood alone, nats.
        contexts_per_step: prefixed contexts drawn per step beside the bare prompts; 0 means all.
        precision: "float32"; "bfloat16"; or "auto", bfloat16 where it is faster.
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
        """What a delta's provenance says of the search."""
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


def optimise_values(
    lm: LanguageModel,
    requests: Sequence[Contexts],
    where: Injection | Sequence[Injection],
    settings: ValueSettings,
    *,
    seed: int = 0,
    batch_tokens: int = 3072,
) -> list[Value]:
    """v* of every request, each in its own problem but all in the same forward passes.

    With several places in `where` they are optimised jointly, each with its own clamp and weight decay; `Value.delta` and
    `Value.v0` are then their concatenation in the order of `where`.

    The result for a request does not depend on its neighbours beyond rounding: Adam is element-wise, stopping is per request, and
    contexts are drawn from a generator seeded by `seed` and the request's id.

    Raises:
        UserError: the loss of a request is not finite.
        OutOfMemory: a request does not fit alone.
    """
    from editing.solve.solvers import solve  # it needs the classes above

    source = lm.half if uses_half(lm, settings.precision) else lm
    places = (where,) if isinstance(where, Injection) else tuple(where)
    prompts = [(*c.prompts, *([c.essence] if c.essence else [])) for c in requests]
    solved = Budget(lm.batch_tokens(batch_tokens), "searching v*").run(
        [max(len(p.ids) - p.lookup for p in mine) for mine in prompts],
        lambda chunk: solve(source, [requests[i] for i in chunk], places, settings, seed),
        rows=[len(mine) for mine in prompts],
        names=[f"request {c.id!r}" for c in requests],
    )
    found = {i: value for members, chunk in solved for i, value in zip(members, chunk, strict=True)}
    return [found[i] for i in range(len(requests))]


def uses_half(lm: LanguageModel, precision: str) -> bool:
    """Whether a search of this `precision` runs on the bfloat16 copy of the weights."""
    return precision == "bfloat16" or (precision == "auto" and lm.half_wins)
