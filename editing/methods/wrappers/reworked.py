"""A wrapper that does something to the finished change of another method's edit, weight by weight."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from editing.delta import Change, Delta, Dense, LowRank, TokenShift, WeightChange, embedding_scale
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.base import Placement
from editing.methods.controls.wrapped import Wrapped
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from editing.text import EditRequest


@dataclass(frozen=True)
class Reworked(Wrapped):
    """A wrapper that does something to the finished change of the inner method's edit."""

    @property
    def placed_by(self) -> tuple[str, ...]:
        return self.method().placed_by

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        return self.method().placement(lm, request)

    def edited_sites(self, lm: LanguageModel, request: EditRequest):
        return self.method().edited_sites(lm, request)

    def prepare(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> None:
        self.method().prepare(lm, requests, statistics)

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        made = self.method().each(lm, requests, statistics)
        return [self._signed(lm, delta, [request], statistics) for request, delta in zip(requests, made, strict=True)]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        return self._signed(lm, self.method()(lm, requests, statistics), requests, statistics)

    def step(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> tuple[Delta, Any]:
        delta, memory = self.method().step(lm, requests, statistics, memory)
        return self._signed(lm, delta, requests, statistics), memory

    def _signed(self, lm: LanguageModel, delta: Delta, requests: Sequence[EditRequest], statistics) -> Delta:
        if not any(isinstance(change, LowRank | Dense) for change in delta.factors.values()):
            raise BadRequest(f"method {self.name}: inner={self.inner!r} changes no weight; take a method that does")
        placed = [replace(r, lookup=self.method().placement_of(lm, r, delta).lookup) for r in requests]
        factors: dict[str, Change] = dict(delta.factors)
        for name, change in delta.factors.items():
            if isinstance(change, LowRank | Dense):
                factors[name] = self.reworked(lm, name, change, placed)
                _read_as_before(lm, name, change, factors)
        return self.signed(lm, Delta(factors, delta.provenance, delta.context), requests, statistics)

    @abstractmethod
    def reworked(
        self, lm: LanguageModel, name: str, change: WeightChange, requests: Sequence[EditRequest]
    ) -> WeightChange:
        """The change to make instead of `change` of the weight called `name`, which carries out `requests`, each at the
        token of its lookup.

        Raises:
            BadRequest: not this kind of weight.
        """


def _read_as_before(lm: LanguageModel, name: str, change: WeightChange, factors: dict[str, Change]) -> None:
    """Where rows of a head that is tied to the embedding are changed, what is read there is shifted back (see
    `head_change`): fit that shift in `factors` to the change that stands in place of `change`."""
    path = name.removesuffix(".weight")
    shift, new = factors.get(f"{path}.output"), factors[name]
    if isinstance(shift, TokenShift) and isinstance(new, LowRank | Dense):
        scale = embedding_scale(lm.module.get_input_embeddings())
        less = _rows(change, shift.ids) - _rows(new, shift.ids)
        factors[f"{path}.output"] = TokenShift(shift.ids, shift.vectors + scale * less)


def _rows(change: WeightChange, ids: torch.Tensor) -> torch.Tensor:
    """(len(ids), d_in) of the changed weight."""
    return change.left[ids] @ change.right.T if isinstance(change, LowRank) else change.matrix[ids]


def changed_rows(change: WeightChange) -> torch.Tensor:
    """(d_out,) which rows of the weight are changed: in a fused map of queries, keys and values only those of the
    values."""
    return (change.left if isinstance(change, LowRank) else change.matrix).abs().amax(1) > 0
