"""The objective of editing/solve/value.py for a chunk of requests: its rows, the unedited model's outputs, the losses
under changes.

Which rows a step uses is decided on the host, from what the host knows: on a GPU a step waits for the device once, to
read the losses. What a step needs on the device goes there in one `Step`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from editing.errors import BadRequest, Unreachable, UserError
from editing.lazy import torch
from editing.model import Hook, LanguageModel, in_rows, only_rows, routing
from editing.run import Splice, first, with_first
from editing.seeds import seed_for
from editing.solve.settings import Injection, Value, ValueSettings
from editing.text import Contexts, Prompt


@dataclass(frozen=True)
class _Row:
    """One sequence of the problem: a context of a request, or its essence prompt."""

    owner: int
    prompt: Prompt
    is_context: bool
    is_bare: bool


def _rows(chunk: Sequence[Contexts]) -> list[_Row]:
    """Every context of every request, then the essence prompts."""
    contexts = [_Row(i, p, True, j < c.n_bare) for i, c in enumerate(chunk) for j, p in enumerate(c.prompts)]
    return contexts + [_Row(i, c.essence, False, False) for i, c in enumerate(chunk) if c.essence is not None]


@dataclass(frozen=True, eq=False)
class Step:
    """The R rows of one step, on the device.

    Attributes:
        rows: indices among all rows, on the host. splice: the same rows, ready to run.
        owner: (R,) the request of each. host_owner: the same on the host.
        is_context: (R,) whether it is a context. weight: (R,) 1.0 there, 0.0 at essence prompts.
        spot_row, spot_column, spot_token, spot_weight: one entry per target token: the row and the column whose logits
            predict it, the token, its share in the row's loss.
        essence: (E,) positions of essence prompts among the rows; base_log_p: (E, vocabulary) of the unedited model.
    """

    rows: np.ndarray
    splice: Splice
    owner: torch.Tensor
    host_owner: np.ndarray
    is_context: torch.Tensor
    weight: torch.Tensor
    spot_row: torch.Tensor
    spot_column: torch.Tensor
    spot_token: torch.Tensor
    spot_weight: torch.Tensor
    essence: torch.Tensor
    base_log_p: torch.Tensor | None


class Problem:
    """One chunk of n requests.

    Attributes:
        owner, is_context, is_bare: (rows,) the request of each row, and what kind of row it is; on the host.
        v0: (n, size) mean output of the unedited module at the bare prompts, the places of `where` side by side.
        parts: the columns of v0 (and of every delta) that belong to each place of `where`.
        scale: (n, places) ||v0|| of each part, or what stands for it; of a routed expert see `ValueSettings`, else
            `Injection.unit`.
        decay_unit: (n, places) what weight decay divides ||delta|| by: ||v0||, or its square as published.
        rate: Adam's step: (n, size), lr times the root mean square of v0's part; the number lr as published.

    Raises:
        BadRequest: a request without a target.
    """

    def __init__(
        self,
        lm: LanguageModel,
        chunk: Sequence[Contexts],
        where: tuple[Injection, ...],
        settings: ValueSettings,
        seed: int,
    ) -> None:
        self.lm, self.chunk, self.where, self.settings = lm, chunk, where, settings
        self.n = len(chunk)
        rows = _rows(chunk)
        for row in rows:
            if row.is_context and not row.prompt.target:
                raise BadRequest(f"request {chunk[row.owner].id!r}: v* needs a target; give its prompts one")
        prompts = [row.prompt for row in rows]
        self.splice = Splice.prepare(
            lm,
            [p.ids for p in prompts],
            [p.lookup for p in prompts],
            min(place.layer for place in where),
            [p.head for p in prompts],
        )
        self.owner = np.array([row.owner for row in rows])
        self.is_context = np.array([row.is_context for row in rows])
        self.is_bare = np.array([row.is_bare for row in rows])
        spots = [
            (r, p.start - 1 - p.lookup + t, token) for r, p in enumerate(prompts) for t, token in enumerate(p.target)
        ]
        self._spots = np.array(spots, dtype=np.int64)
        self._spot_weight = np.array([1.0 / len(prompts[r].target) for r, _, _ in spots], dtype=np.float32)
        self.generators = [torch.Generator().manual_seed(seed_for(seed, c.id)) for c in chunk]
        self._kept: Step | None = None

        outputs, lengths, self.essence_log_p = self._unedited()
        ends = torch.tensor([o.shape[1] for o in outputs]).cumsum(0).tolist()
        self.parts = [slice(end - o.shape[1], end) for end, o in zip(ends, outputs, strict=True)]
        self.v0 = self._mean_over_bare(torch.cat(outputs, 1))
        self.scale = torch.stack([self.v0[:, part].norm(dim=1) for part in self.parts], 1)
        if settings.relative:
            for i, (total, weight) in lengths.items():
                self.scale[:, i] = self._mean_over_bare(total).norm(dim=1) / self._mean_over_bare(weight)[:, 0]
        self.decay_unit = self.scale if settings.relative else self.scale**2
        self.rate = self._rate() if settings.relative else settings.lr

    def step(self, active: np.ndarray) -> Step:
        """All rows of the `active` (n,) requests, or their bare ones and a draw of the others; kept while the same."""
        rows = self._draw(active)
        if self._kept is None or not np.array_equal(self._kept.rows, rows):
            self._kept = self._prepare(rows)
        return self._kept

    def _draw(self, active: np.ndarray) -> np.ndarray:
        """Indices of the rows of one step, ascending."""
        count, keep = self.settings.contexts_per_step, active[self.owner]
        if count:
            prefixed = self.is_context & ~self.is_bare
            for i in np.flatnonzero(active):
                candidates = np.flatnonzero((self.owner == i) & prefixed)
                order = torch.randperm(len(candidates), generator=self.generators[i]).numpy()
                keep[candidates[order[count:]]] = False
        return np.flatnonzero(keep)

    def _prepare(self, rows: np.ndarray) -> Step:
        """The step of some rows; everything about them goes to the device in two transfers."""
        place = np.full(len(self.owner), -1)
        place[rows] = np.arange(len(rows))
        inside = place[self._spots[:, 0]] >= 0
        spots = self._spots[inside]
        essence = np.flatnonzero(~self.is_context[rows])
        contexts = self.is_context[rows]
        parts = [self.owner[rows], place[spots[:, 0]], spots[:, 1], spots[:, 2], essence, rows]
        whole = self._on_device(np.concatenate(parts)).split([len(part) for part in parts])
        owner, spot_row, spot_column, spot_token, on_device, index = whole
        weight, spot_weight = self._on_device(
            np.concatenate([contexts.astype(np.float32), self._spot_weight[inside]])
        ).split([len(rows), len(spots)])
        base = None
        if len(essence) and self.essence_log_p is not None:
            base = self.essence_log_p[index[on_device] - int(self.is_context.sum())]
        splice = self.splice if len(rows) == self.splice.batch.size else self.splice.select(index)
        return Step(
            rows, splice, owner, self.owner[rows], weight > 0, weight, spot_row, spot_column, spot_token, spot_weight,
            on_device, base,
        )  # fmt: skip

    def _on_device(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self.lm.device)

    def row_losses(self, delta: torch.Tensor, step: Step) -> torch.Tensor:
        """(R,) nats under `delta` (R, size), one change per row of `step`.

        Negative log-likelihood of the target, mean over its tokens, at contexts; KL from the unedited model at essence
        prompts.
        """
        essence, spots = step.essence, len(step.spot_row)
        gather = (torch.cat([step.spot_row, essence]), torch.cat([step.spot_column, torch.zeros_like(essence)]))
        hooks = [self._adding(place, delta[:, part]) for place, part in zip(self.where, self.parts, strict=True)]
        logits = step.splice.run(gather, hooks)
        assert logits is not None
        log_p = logits.float().log_softmax(-1)

        nll = -log_p[:spots].gather(1, step.spot_token[:, None])[:, 0] * step.spot_weight
        losses = torch.zeros(len(step.rows), device=delta.device).index_add(0, step.spot_row, nll)
        if step.base_log_p is not None:
            # The ROME code calls kl_div(base, edited): the expectation is under the edited model.
            edited = log_p[spots:]
            losses = losses.index_add(0, essence, (edited.exp() * (edited - step.base_log_p)).sum(-1))
        return losses

    def mean_over_contexts(self, losses: torch.Tensor, step: Step) -> torch.Tensor:
        """(n,) mean of each request's context rows."""
        zero = torch.zeros(self.n, device=losses.device)
        count = zero.index_add(0, step.owner, step.weight).clamp(min=1)
        return zero.index_add(0, step.owner, losses * step.weight) / count

    def units(self) -> torch.Tensor:
        """(n, size) ||v0|| of the place that each column belongs to; 1 with one place, where a unit changes no step."""
        if len(self.parts) == 1:
            return torch.ones_like(self.v0)
        sizes = [part.stop - part.start for part in self.parts]
        return torch.cat([self.scale[:, i : i + 1].expand(-1, size) for i, size in enumerate(sizes)], 1)

    def clamped(self, delta: torch.Tensor) -> torch.Tensor:
        """`delta` (n, size) with each part projected onto its ball of radius clamp * ||v0||."""
        limit = self.settings.clamp * self.scale
        return torch.cat([_within(delta[:, p], limit[:, i]) for i, p in enumerate(self.parts)], 1)

    def refuse_not_finite(self, loss: np.ndarray, active: np.ndarray, step: int) -> None:
        """Raises UserError where the loss (n,) of an active request is not a finite number."""
        bad = np.flatnonzero(~np.isfinite(loss) & active)
        if len(bad):
            raise UserError(
                f"request {self.chunk[bad[0]].id!r}: the loss of v* is not finite at step {step}; "
                "lower lr or check the model"
            )

    def refuse_unreachable(self, gradient: torch.Tensor, active: np.ndarray, step: Step) -> None:
        """For the first step: Adam would turn the rounding of a gradient that is none into steps of full length.

        Args:
            gradient: (R, size) of each row's own loss. active: (n,) the requests that are not finished.

        Raises:
            Unreachable: the targets of a request do not depend on the output that is to be changed.
        """
        depends = torch.zeros(self.n, device=gradient.device)
        depends.index_add_(0, step.owner, gradient.abs().amax(1) * step.weight)
        dead = np.flatnonzero((depends == 0).cpu().numpy() & active)
        if len(dead):
            raise Unreachable(
                f"request {self.chunk[dead[0]].id!r}: no token of the target depends on block {self.where[0].layer} at "
                "the key's token, so no edit there is reachable; take lookup last or a lower depth"
            )

    def values(self, delta: torch.Tensor, loss: np.ndarray, steps: np.ndarray) -> list[Value]:
        """The result of each request; `delta` (n, size), `loss` (negative log-likelihood) and `steps` (n,)."""
        return [
            Value(d, v0, float(nats), int(count), c.essence is not None)
            for d, v0, nats, count, c in zip(delta.detach().cpu(), self.v0.cpu(), loss, steps, self.chunk, strict=True)
        ]

    def _unedited(
        self,
    ) -> tuple[list[torch.Tensor], dict[int, tuple[torch.Tensor, torch.Tensor]], torch.Tensor | None]:
        """Of the unedited model at every lookup: the output (rows, size) of each place; of each place whose length is
        another's an output (rows, size) and its divisor (rows, 1), which is of a routed expert what all experts put out
        together and the router's weight for it, and of a `unit` its output and 1; (essences, vocabulary) log P, or
        None.
        """
        outputs: dict[str, torch.Tensor] = {}
        lengths: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

        def at_lookup(value: torch.Tensor) -> torch.Tensor:
            return value.reshape(self.splice.batch.size, -1, value.shape[-1])[:, 0].float().to(self.lm.device)

        def recording(place: Injection) -> Hook:
            def record(module: torch.nn.Module, args: tuple, output: object) -> None:
                outputs[place.path] = only_rows(at_lookup(first(output)), place.rows)

            return place.path, record

        def recording_all(i: int, holder: str, index: int) -> Hook:
            def record(module: torch.nn.Module, args: tuple, output: object) -> None:
                weight = routing(module, args)[:, index, None]
                lengths[i] = at_lookup(first(output)), at_lookup(weight)

            return holder, record

        def recording_unit(i: int, path: str) -> Hook:
            def record(module: torch.nn.Module, args: tuple, output: object) -> None:
                value = at_lookup(first(output))
                lengths[i] = value, torch.ones_like(value[:, :1])

            return path, record

        essence = self._on_device(np.flatnonzero(~self.is_context))
        stop = None
        if not len(essence):  # no logits are needed
            last = max(self.where, key=lambda place: place.layer)
            alone = len(self.where) == 1 and last.expert is None
            stop = last.path if alone else self.lm.layout.blocks[last.layer]
        hooks = [recording(place) for place in self.where]
        hooks += [recording_all(i, *place.expert) for i, place in enumerate(self.where) if place.expert is not None]
        hooks += [recording_unit(i, place.unit) for i, place in enumerate(self.where) if place.unit is not None]
        with torch.no_grad():
            logits = self.splice.run((essence, torch.zeros_like(essence)), hooks, stop=stop)
        log_p = None if logits is None else logits.float().log_softmax(-1)
        return [outputs[place.path] for place in self.where], lengths, log_p

    def _rate(self) -> torch.Tensor:
        """(n, size) learning rates: `lr` in the root mean square of each part of v0."""
        by_part = [
            (self.settings.lr * self.scale[:, i : i + 1] / (part.stop - part.start) ** 0.5).expand(
                -1, part.stop - part.start
            )
            for i, part in enumerate(self.parts)
        ]
        return torch.cat(by_part, 1)

    def _mean_over_bare(self, values: torch.Tensor) -> torch.Tensor:
        """(n, size) mean of `values` (rows, size) over the bare prompts of each request."""
        rows = np.flatnonzero(self.is_bare)
        bare, owner = self._on_device(np.stack([rows, self.owner[rows]]))
        total = torch.zeros(self.n, values.shape[1], device=values.device)
        total.index_add_(0, owner, values[bare])
        return total / torch.tensor([[float(c.n_bare)] for c in self.chunk], device=values.device)

    def _adding(self, place: Injection, delta: torch.Tensor) -> Hook:
        """A hook that adds `delta` (R, width of the place) to the output at column 0, the lookup position."""

        def add(module: torch.nn.Module, args: tuple, output: object) -> object:
            hidden = first(output)
            shaped = hidden.reshape(len(delta), -1, hidden.shape[-1])
            change = in_rows(delta.to(hidden.device, hidden.dtype), place.rows, hidden.shape[-1])
            changed = torch.cat([(shaped[:, 0] + change)[:, None], shaped[:, 1:]], 1)
            return with_first(output, changed.reshape(hidden.shape))

        return place.path, add


def _within(delta: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """Rows of (n, d) projected onto balls of radius `limit` (n,)."""
    norm = delta.norm(dim=1)
    return delta * torch.where(norm > limit, limit / norm.clamp(min=1e-12), torch.ones_like(norm))[:, None]
