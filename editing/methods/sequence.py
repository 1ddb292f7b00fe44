"""Edits that pile up: each batch is computed on the model that carries all the earlier ones.

Statistics (covariances, prefixes) stay those of the unedited model, as in the papers. The edits stand in the weights while the
sequence runs, so a step costs the same at the first edit and at the thousandth; at the end every weight has its old bits again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from editing.delta.changes import Change, Dense, LowRank
from editing.delta.delta import Delta, compose, oriented
from editing.errors import BadRequest
from editing.model.language_model import LanguageModel
from editing.solve.value import uses_half
from editing.stats.statistics import ModelStatistics
from editing.text.requests import EditRequest

if TYPE_CHECKING:  # methods that edit one by one use this module
    from editing.methods.base import Method


@dataclass(frozen=True, eq=False)
class Step:
    """What a callback sees when a batch of edits has been added.

    Attributes:
        done: requests carried out so far.
        lm: the model with all edits so far in its weights: evaluate it without deltas.
        requests: of this batch.
        delta: the change this batch made.
    """

    done: int
    lm: LanguageModel
    requests: tuple[EditRequest, ...]
    delta: Delta
    _pile: _Pile

    def so_far(self) -> Delta:
        """All edits so far as one change of the unedited model (see `unedited`)."""
        return self._pile.delta()

    @contextmanager
    def unedited(self) -> Iterator[LanguageModel]:
        """The model without the edits, for the length of a `with` block; what `text_drift(lm, texts, [step.so_far()])` needs."""
        self._pile.restore()
        try:
            yield self.lm
        finally:
            self._pile.write()


def apply_sequence(
    lm: LanguageModel,
    method: Method,
    requests: Sequence[EditRequest],
    statistics: ModelStatistics,
    *,
    batch: int = 1,
    on_step: Callable[[Step], None] | None = None,
) -> Delta:
    """Carry out `requests` in order, `batch` at a time, and return the whole as one change of the unedited model.

    A method may remember earlier batches (AlphaEdit's keys, UltraEdit's running means): see `Method.step`. A low-rank
    change becomes dense where its rank passes half of what the weight can have.

    Raises:
        BadRequest: no requests, or a batch below 1.
        BadModel: the weights are offloaded; edits cannot pile up in them.
    """
    if not requests or batch < 1:
        raise BadRequest(f"sequence of {len(requests)} requests in batches of {batch}; give at least one of each")
    lm.refuse_offloaded()
    statistics.lm.weight_hash  # noqa: B018  (fixed before the weights change)
    lm.weight_hash  # noqa: B018
    method.prepare(lm, requests, statistics)
    pile = _Pile(lm, method)
    memory: Any = None
    try:
        for start in range(0, len(requests), batch):
            chosen = tuple(requests[start : start + batch])
            delta, memory = method.step(lm, chosen, statistics, memory)
            pile.add(delta)
            if on_step is not None:
                on_step(Step(start + len(chosen), lm, chosen, delta, pile))
    finally:
        pile.restore()
    whole = pile.delta()
    provenance = method.provenance(lm, list(requests), statistics) | {"mode": "sequential", "batch": batch}
    return Delta(whole.factors, provenance, whole.context)


class _Pile:
    """The edits so far, in the weights of the model and, where the method steps in bfloat16, of its bfloat16 copy."""

    def __init__(self, lm: LanguageModel, method: Method) -> None:
        if uses_half(lm, getattr(method, "precision", "float32")):
            lm.half  # noqa: B018  (copied now, from the unedited weights)
        copy = lm.__dict__.get("half")
        self.models = [lm] if copy is None or copy is lm else [lm, copy]
        self.saved: dict[str, list[torch.Tensor]] = {}
        self.total: dict[str, torch.Tensor] = {}  # (d_out, d_in) float32
        self.pieces: dict[str, list[LowRank] | None] = {}  # None: the total is all that is kept
        self.outputs = Delta({})  # changes that live in hooks, and contexts
        self.hooks = ExitStack()

    def add(self, delta: Delta) -> None:
        outputs: dict[str, Change] = {}
        for name, change in delta.factors.items():
            if isinstance(change, LowRank | Dense):
                self._add_weight(name, change)
            else:
                outputs[name] = change
        together = compose([self.outputs, Delta(outputs, context=delta.context)])
        self.outputs = Delta(together.factors, {}, together.context)
        self.write(delta.weights)

    def _add_weight(self, name: str, change: LowRank | Dense) -> None:
        if name not in self.saved:
            self.saved[name] = [m.weight(name).detach().clone() for m in self.models]
            self.total[name], self.pieces[name] = torch.zeros(change.shape), []
        self.total[name] += change.dense().cpu()
        pieces = self.pieces[name]
        if pieces is None:
            return
        if isinstance(change, LowRank) and sum(p.rank for p in pieces) + change.rank <= min(change.shape) / 2:
            pieces.append(change)
        else:
            self.pieces[name] = None

    def write(self, names: Sequence[str] | None = None) -> None:
        """Put saved weight + total into the models, from the saved one every time so that rounding does not pile up."""
        self.hooks.close()
        with torch.no_grad():
            for name in self.saved if names is None else [n for n in names if n in self.saved]:
                change = oriented(self.models[0], name, Dense(self.total[name]))
                edited = self.saved[name][0].float() + change.to(self.saved[name][0].device)
                for model in self.models:
                    model.weight(name).copy_(edited)
        self.hooks.enter_context(Delta(self.outputs.factors).applied(self.models[0]))

    def restore(self) -> None:
        self.hooks.close()
        with torch.no_grad():
            for name, saved in self.saved.items():
                for model, old in zip(self.models, saved, strict=True):
                    model.weight(name).copy_(old)

    def delta(self) -> Delta:
        factors: dict[str, Change] = dict(self.outputs.factors)
        for name, pieces in self.pieces.items():
            if pieces is None:
                factors[name] = Dense(self.total[name].clone())
            else:
                factors[name] = LowRank(torch.cat([p.left for p in pieces], 1), torch.cat([p.right for p in pieces], 1))
        return Delta(factors, {}, self.outputs.context)
