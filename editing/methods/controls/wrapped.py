"""A method that makes the edits of another method, its `inner` one, under some condition or with something done to
them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.delta import Delta
from editing.errors import BadRequest
from editing.methods.base import Method, Placement, setting
from editing.methods.by_name import is_easyedit, make_method, registry
from editing.model import EXPERT, KINDS, LanguageModel
from editing.text import EditRequest

# What the choice of a dose and the reader's doubts go by, from the inner method's provenance.
CARRIED = ("margin", "erases", "warnings")


@dataclass(frozen=True)
class Wrapped(Method):
    """`preset`, `site`, `lookup`, `depth` and `seed` are passed to the inner method, with `options`."""

    no_expert: ClassVar[str] = ""  # the inner method refuses where it cannot

    before_presets: ClassVar[Mapping[str, Any]] = {"site": "mlp"}

    site: str | None = setting(None, "kind of map; unset: the inner method's", choices=(*KINDS, EXPERT))
    inner: str = setting("rome", "name of the method that makes the edit")
    options: str = setting("{}", "other settings of the inner method, a JSON object")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.method()

    @property
    def beside_weights(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.method().beside_weights

    @property
    def has_dose(self) -> bool:
        return self.method().has_dose

    def method(self, **changes: Any) -> Method:
        """The inner method with its settings.

        Args:
            changes: settings that the control decides, in place of the method's.

        Raises:
            BadRequest: no such method, or settings it does not have.
        """
        possible = [name for name, kind in registry().items() if not issubclass(kind, Wrapped)]
        if self.inner not in possible and not is_easyedit(self.inner):
            raise BadRequest(f"method {self.name}: inner={self.inner!r}; use one of {', '.join(possible)}")
        try:
            options = json.loads(self.options)
        except ValueError:
            options = None
        if not isinstance(options, dict):
            raise BadRequest(
                f"method {self.name}: options={self.options!r}; write a JSON object of {self.inner}'s settings"
            )
        shared: dict[str, Any] = {"preset": self.preset, "depth": self.depth, "seed": self.seed}
        shared |= {key: value for key in ("site", "lookup") if (value := getattr(self, key)) is not None}
        return make_method(self.inner, **(shared | options | changes))

    def placement_of(self, lm: LanguageModel, request: EditRequest, delta: Delta) -> Placement:
        return self.made_by(lm).placement_of(lm, request, Delta({}, delta.provenance["inner"]))

    def made_by(self, lm: LanguageModel) -> Method:
        """The inner method as it edits `lm`."""
        return self.method()

    def signed(self, lm, delta: Delta, requests, statistics, **about: Any) -> Delta:
        """`delta` of the inner method under the name of this one; `about` says what the wrapper decided."""
        carried = {key: delta.provenance[key] for key in CARRIED if key in delta.provenance}
        provenance = self.provenance(lm, requests, statistics) | carried | about | {"inner": delta.provenance}
        return Delta(delta.factors, provenance, delta.context)
