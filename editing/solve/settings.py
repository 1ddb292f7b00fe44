"""Settings that state their meaning and check their values; those of a search for v*, its places and its results."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, get_args, get_type_hints

from editing.errors import BadRequest
from editing.lazy import torch
from editing.model import LanguageModel, Site


def setting(default: Any, help: str, *, unit: str = "", choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field with its meaning (a noun phrase), its unit, and its only values where there are such."""
    return field(default=default, metadata={"help": help, "unit": unit, "choices": choices})


@dataclass(frozen=True)
class Settings:
    """Fields made by `setting`. A subclass changes a default by `steps: int = 30`; meaning, unit and choices stay.

    Raises:
        BadRequest: a value of another type, below zero, or not among the choices.
    """

    name: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        inherited = {k: f for base in cls.__mro__[:0:-1] for k, f in vars(base).get("__dataclass_fields__", {}).items()}
        for key, default in list(vars(cls).items()):
            if key in inherited and inherited[key].metadata and not isinstance(default, Field):
                setattr(cls, key, field(default=default, metadata=inherited[key].metadata))

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for one in fields(self):
            value, allowed = getattr(self, one.name), get_args(hints[one.name]) or (hints[one.name],)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if type(value) not in allowed and not (float in allowed and number):
                raise self.refuse(one.name, " or ".join(getattr(a, "__name__", str(a)) for a in allowed))
            if number and not value >= 0:
                raise self.refuse(one.name, "zero or more")
        for one in fields(self):
            choices, value = one.metadata.get("choices"), getattr(self, one.name)
            if choices and value is not None and value not in choices:
                raise self.refuse(one.name, f"one of {', '.join(choices)}")

    def refuse(self, key: str, need: str) -> BadRequest:
        """The error that says what the setting `key` must be."""
        method = f"method {self.name}: " if self.name else ""
        return BadRequest(f"{method}{key}={getattr(self, key)!r}; it must be {need}")


@dataclass(frozen=True)
class ValueSettings(Settings):
    """How v* is searched; methods that search it have these settings too.

    "adam" is the papers'; "gauss_newton" needs about a third of the passes and ends at smaller changes, and compares
    `stop_loss` with the negative log-likelihood alone (editing/solve/solvers.py).
    """

    optimiser: str = setting("adam", "algorithm that searches v*", choices=("adam", "gauss_newton"))
    steps: int = setting(20, "largest number of passes; the last one only measures")
    lr: float = setting(0.5, "learning rate of Adam")
    kl: float = setting(0.0625, "weight of the KL term, which keeps what the subject is")
    weight_decay: float = setting(0.5, "weight of ||delta|| / ||v0||^2 in the loss")
    clamp: float = setting(4.0, "largest ||delta||", unit="||v0||")
    stop_loss: float = setting(0.05, "loss below which a request is finished", unit="nats")
    contexts_per_step: int = setting(0, "prefixed contexts of one step; 0: all of them", unit="contexts")
    precision: str = setting("float32", "number format; auto: fastest", choices=("float32", "bfloat16", "auto"))


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
