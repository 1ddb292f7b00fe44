"""Sequential editing: each batch of edits is computed on the model that carries all the earlier ones.

Statistics (covariances, prefixes) stay those of the unedited model, as in the papers. The edits are in the weights
while the sequence runs, so a step costs the same at the first edit and at the thousandth; at the end every weight has
its old bits again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from editing.delta import Change, Delta, Dense, LowRank, chained, moved, oriented
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.base import Method
from editing.model import LanguageModel, WeightWriter
from editing.stats import ModelStatistics
from editing.text import EditRequest


@dataclass(frozen=True, eq=False)
class Step:
    """What a callback gets when a batch of edits has been added.

    Attributes:
        done: requests carried out so far.
        lm: the model with all edits so far in its weights or hooks: evaluate it without deltas, but behind the context
            of `so_far`, which is in no weight.
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
        """The model without the edits in a `with` block, as `text_drift(lm, texts, [step.so_far()])` needs it."""
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
    change becomes dense where its rank exceeds half of the largest that the weight can have. The provenance has the
    warnings of all steps, and the ids of the requests that were edited at the last token instead ("moved_requests").

    Raises:
        BadRequest: no requests, or a batch below 1.
        BadModel: the weights are offloaded and cannot be changed in place.
    """
    if not requests or batch < 1:
        raise BadRequest(f"sequence of {len(requests)} requests in batches of {batch}; give at least one of each")
    lm.refuse_offloaded()
    for model in (statistics.lm, lm):
        model.weight_hash  # noqa: B018  (taken before the weights change)
    method.prepare(lm, requests, statistics)
    memory: Any = None
    notes: dict[str, list[str]] = {"moved_requests": [], "warnings": []}
    with lm.writing() as weights:
        pile = _Pile(lm, weights)
        with pile.hooks:
            for start in range(0, len(requests), batch):
                chosen = tuple(requests[start : start + batch])
                if method.beside_weights:
                    pile.hooks.close()  # `add` opens them again
                delta, memory = method.step(lm, chosen, statistics, memory)
                pile.add(delta)
                moved = [r.id for r in chosen] if "moved" in delta.provenance else []
                notes["moved_requests"] += delta.provenance.get("moved_requests", moved)
                notes["warnings"] += delta.provenance.get("warnings", [])
                if on_step is not None:
                    on_step(Step(start + len(chosen), lm, chosen, delta, pile))
    whole = pile.delta()
    provenance = method.provenance(lm, list(requests), statistics) | {"mode": "sequential", "batch": batch}
    return Delta(whole.factors, provenance | {key: lines for key, lines in notes.items() if lines}, whole.context)


class _Pile:
    """The edits so far: in the weights of the model, and summed up as changes of the unedited one."""

    def __init__(self, lm: LanguageModel, weights: WeightWriter) -> None:
        self.lm, self.weights = lm, weights
        self.total: dict[str, torch.Tensor] = {}  # (d_out, d_in) float32
        self.pieces: dict[str, list[LowRank] | None] = {}  # None: only the total is kept, see `_keep`
        self.outputs = Delta({})  # changes that live in hooks, and contexts
        self.hooks = ExitStack()

    def add(self, delta: Delta) -> None:
        outputs: dict[str, Change] = {}
        for name, change in delta.factors.items():
            if isinstance(change, LowRank | Dense):
                self._keep(name, change)
            else:
                outputs[name] = change
        together = chained(self.outputs.factors, outputs)
        self.outputs = Delta(together, {}, " ".join(filter(None, (self.outputs.context, delta.context))))
        self.write([name for name in delta.weights if name in self.total])

    def _keep(self, name: str, change: LowRank | Dense) -> None:
        """Add a change of a weight to its total, and to its factors as long as they are smaller than a dense change."""
        if name not in self.total:
            self.total[name] = torch.zeros(change.shape, device=self.lm.weight(name).device)
        self.total[name] += moved(change, self.total[name].device).dense()
        pieces = self.pieces.setdefault(name, [])
        if pieces is not None and isinstance(change, LowRank):
            pieces.append(change)
        largest = min(change.shape) / 2
        if pieces is None or isinstance(change, Dense) or sum(p.rank for p in pieces) > largest:
            self.pieces[name] = None

    def write(self, names: Iterable[str] | None = None) -> None:
        """Put original + total into the weights, from the original every time so that rounding does not add up."""
        self.hooks.close()
        for name in self.total if names is None else names:
            original = self.weights.original(name)
            change = oriented(self.lm, name, Dense(self.total[name]))
            self.weights.write(name, original.float() + change.to(original.device))
        self.hooks.enter_context(Delta(self.outputs.factors).applied(self.lm))

    def restore(self) -> None:
        self.hooks.close()
        self.weights.restore()

    def delta(self) -> Delta:
        factors: dict[str, Change] = dict(self.outputs.factors)
        for name, pieces in self.pieces.items():
            if pieces is None:
                factors[name] = Dense(self.total[name].cpu().clone())
            else:
                factors[name] = LowRank(torch.cat([p.left for p in pieces], 1), torch.cat([p.right for p in pieces], 1))
        return Delta(factors, {}, self.outputs.context)
