"""Settings that state their meaning and check their values; those of a search for v*, its places and its results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, Self, get_args, get_type_hints

from editing.errors import BadRequest
from editing.lazy import torch
from editing.model import EXPERT, LanguageModel, Site, holder_and_index
from editing.seeds import GREATEST


def setting(default: Any, help: str, *, unit: str = "", choices: tuple[str, ...] = (), least: int = 0) -> Any:
    """A dataclass field with its meaning (a noun phrase), its unit, its only values where there are such, and the least
    value of a number."""
    return field(default=default, metadata={"help": help, "unit": unit, "choices": choices, "least": least})


SCALE_FREE, PUBLISHED = PRESETS = ("scale_free", "published")
FORMER = "before_presets"  # stands for the defaults of before there were presets, to repeat what was made by them


@dataclass(frozen=True)
class Settings:
    """Fields made by `setting`. A subclass changes a default by `steps: int = 30`; meaning, unit and choices stay.

    The fields' defaults are those of the preset "scale_free": every constant with a unit is stated in the model's own
    units, so that one default serves models of all sizes. `published` of a class has what the preset "published" sets
    instead, literally as the paper or its code has it, in absolute units; `make_method` fills it in.

    Raises:
        BadRequest: a value of another type, below its least or zero, infinite, or not among the choices.
    """

    name: ClassVar[str] = ""
    # What the preset "published" sets; a subclass states what it adds to its bases.
    published: ClassVar[Mapping[str, Any]] = {}
    # Defaults of settings stored before there were presets, where the two presets have others.
    before_presets: ClassVar[Mapping[str, Any]] = {}

    preset: str = setting(SCALE_FREE, "set of defaults and of units", choices=PRESETS)

    @property
    def relative(self) -> bool:
        """Whether constants with a unit are stated in the model's own units."""
        return self.preset == SCALE_FREE

    @classmethod
    def with_preset(cls, **settings: Any) -> Self:
        """With `settings`; what they leave out has the default of their preset, or of FORMER."""
        preset = settings.pop("preset", SCALE_FREE)
        usual = cls.of_before_presets() if preset == FORMER else cls.of_preset(preset)
        return cls(**(usual | settings))

    @classmethod
    def of_preset(cls, preset: str) -> dict[str, Any]:
        """The settings that a preset sets; no more than its name for "scale_free", whose values are the fields'."""
        if preset == PUBLISHED:
            return {"preset": preset} | cls._inherited("published")
        return {"preset": preset}

    @classmethod
    def of_before_presets(cls) -> dict[str, Any]:
        """What the defaults were when there were no presets: in absolute units, like the published ones."""
        return cls.of_preset(PUBLISHED) | cls._inherited("before_presets")

    @classmethod
    def _inherited(cls, name: str) -> dict[str, Any]:
        """A class's mapping `name` with those of its bases, its own values first; without what is no setting of it."""
        merged = {k: v for base in cls.__mro__[::-1] for k, v in vars(base).get(name, {}).items()}
        return {k: v for k, v in merged.items() if k in {f.name for f in fields(cls)}}

    def __init_subclass__(cls) -> None:
        inherited = {k: f for base in cls.__mro__[:0:-1] for k, f in vars(base).get("__dataclass_fields__", {}).items()}
        for key, default in list(vars(cls).items()):
            if key in inherited and inherited[key].metadata and not isinstance(default, Field):
                setattr(cls, key, field(default=default, metadata=inherited[key].metadata))

    def __post_init__(self) -> None:
        hints = _hints(type(self))
        for one in fields(self):
            value, allowed = getattr(self, one.name), get_args(hints[one.name]) or (hints[one.name],)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if type(value) not in allowed and not (float in allowed and number):
                raise self.refuse(one.name, " or ".join(getattr(a, "__name__", str(a)) for a in allowed))
            least = one.metadata.get("least", 0)
            if number and not value >= least:
                raise self.refuse(one.name, f"{least or 'zero'} or more")
            if number and value == math.inf:
                raise self.refuse(one.name, "a finite number")
            if one.name == "seed" and value > GREATEST:
                raise self.refuse(one.name, "at most 2**63 - 1")
        for one in fields(self):
            choices, value = one.metadata.get("choices"), getattr(self, one.name)
            if choices and value is not None and value not in choices:
                raise self.refuse(one.name, f"one of {', '.join(choices)}")

    def refuse(self, key: str, need: str) -> BadRequest:
        """The error that says what the setting `key` must be."""
        method = f"method {self.name}: " if self.name else ""
        return BadRequest(f"{method}{key}={getattr(self, key)!r}; it must be {need}")


@cache
def _hints(kind: type[Settings]) -> dict[str, Any]:
    """The types of a class's fields; reading the annotations costs more than checking the values."""
    return get_type_hints(kind)


@dataclass(frozen=True)
class ValueSettings(Settings):
    """How v* is searched; methods that search it have these settings too.

    "adam" is the papers'; "gauss_newton" needs about a third of the passes and compares `stop_loss` with the negative
    log-likelihood alone (editing/solve/solvers.py). Its steps are bounded by ||v0||, so that it needs no learning rate.

    v0, the unedited output that delta is added to, is a few hundredths long in one model and thousands in another. So
    `lr` is a multiple of its root mean square and `weight_decay` multiplies ||delta|| / ||v0||; in the preset
    "published" Adam's steps are absolute and weight decay is ||delta|| / ||v0||^2, as in the code of ROME and MEMIT.
    At a routed expert, of whose output the router passes a share on, ||v0|| is the length of what all experts of the
    block put out together, divided by that share: delta, as it gets into the residual stream, is bounded as that of a
    dense MLP. In the preset "published" it is the length of the expert's own output.
    """

    published: ClassVar[Mapping[str, Any]] = {"optimiser": "adam", "lr": 0.5, "weight_decay": 0.5}

    optimiser: str = setting("gauss_newton", "algorithm that searches v*", choices=("adam", "gauss_newton"))
    steps: int = setting(20, "largest number of passes; the last one only measures", least=1)
    lr: float = setting(0.3, "learning rate of Adam", unit="RMS of v0")
    kl: float = setting(0.0625, "weight of the KL term, which keeps what the subject is")
    weight_decay: float = setting(0.02, "weight of ||delta|| in the loss", unit="1 / ||v0||")
    clamp: float = setting(4.0, "largest ||delta||", unit="||v0||")
    stop_loss: float = setting(0.05, "loss below which a request is finished", unit="nats")
    contexts_per_step: int = setting(0, "prefixed contexts of one step; 0: all of them", unit="contexts")
    precision: str = setting("float32", "number format; auto: fastest", choices=("float32", "bfloat16", "auto"))


@dataclass(frozen=True, eq=False)
class Value:
    """delta, v0: (size,) float32; loss: negative log-likelihood of the target at the end, nats, mean over contexts;
    steps: passes made; with_kl: whether the KL term had a prompt."""

    delta: torch.Tensor
    v0: torch.Tensor
    loss: float
    steps: int
    with_kl: bool = True

    def note(self) -> dict[str, float | str]:
        """The summary of the search in a delta's provenance."""
        note: dict[str, float | str] = {"loss": self.loss, "steps": self.steps, "delta_norm": float(self.delta.norm())}
        return note if self.with_kl else note | {"kl": "none: no prompt has a subject"}


@dataclass(frozen=True)
class Injection:
    """Where delta is added: a module's output at the lookup position, on all or some of its rows; `expert`: it is the
    map of a routed expert, see `holder_and_index`; `unit`: the module whose output's length stands for ||v0||, with
    relative settings, instead of the place's own."""

    path: str
    layer: int
    rows: tuple[int, ...] | None = None
    expert: tuple[str, int] | None = None
    unit: str | None = None

    @classmethod
    def at_site(cls, site: Site) -> Injection:
        expert = holder_and_index(site.path) if site.kind == EXPERT else None
        return cls(site.path, site.layer, site.rows, expert)

    @classmethod
    def at_block(cls, lm: LanguageModel, layer: int, unit: str | None = None) -> Injection:
        return cls(lm.layout.blocks[layer], layer, unit=unit)


def uses_half(lm: LanguageModel, precision: str) -> bool:
    """Whether a search of this `precision` runs on the bfloat16 copy of the weights."""
    return precision == "bfloat16" or (precision == "auto" and lm.half_wins)
