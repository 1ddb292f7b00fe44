"""The objective of editing/solve/value.py for a chunk of requests: its rows, the unedited model's outputs, the losses
under
changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editing.errors import BadRequest, UserError
from editing.lazy import torch
from editing.model import Hook, LanguageModel, in_rows, only_rows
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


class Problem:
    """One chunk of n requests.

    Attributes:
        owner, is_context, is_bare: (rows,) the request of each row, and what kind of row it is.
        v0: (n, size) mean output of the unedited module at the bare prompts, the places of `where` side by side.
        parts: the columns of v0 (and of every delta) that belong to each place of `where`.
        scale: (n, places) ||v0|| of each part.

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
        device = lm.device
        rows = _rows(chunk)
        if any(row.is_context and row.prompt.target == () for row in rows):
            raise BadRequest(f"request {chunk[0].id!r}: v* needs a target")
        prompts = [row.prompt for row in rows]
        self.splice = Splice.prepare(
            lm,
            [p.ids for p in prompts],
            [p.lookup for p in prompts],
            min(place.layer for place in where),
            [p.head for p in prompts],
        )
        self.owner = torch.tensor([row.owner for row in rows], device=device)
        self.is_context = torch.tensor([row.is_context for row in rows], device=device)
        self.is_bare = torch.tensor([row.is_bare for row in rows])
        # One entry per target token: the row and column whose logits predict it.
        spots = [
            (r, p.start - 1 - p.lookup + t, token) for r, p in enumerate(prompts) for t, token in enumerate(p.target)
        ]
        self.spot_row, self.spot_column, self.spot_token = torch.tensor(spots, device=device).T
        self.spot_weight = torch.tensor([1.0 / len(prompts[r].target) for r, _, _ in spots], device=device)
        self.generators = [torch.Generator().manual_seed(seed_for(seed, c.id)) for c in chunk]
        self._selection: tuple[torch.Tensor, Splice] | None = None

        outputs, self.essence_log_p = self._unedited()
        ends = torch.tensor([o.shape[1] for o in outputs]).cumsum(0).tolist()
        self.parts = [slice(end - o.shape[1], end) for end, o in zip(ends, outputs, strict=True)]
        self.v0 = self._mean_over_bare(torch.cat(outputs, 1))
        self.scale = torch.stack([self.v0[:, part].norm(dim=1) for part in self.parts], 1)

    def draw(self, active: torch.Tensor) -> torch.Tensor:
        """Rows of one step: all of the `active` (n,) requests, or their bare ones and a draw of the others."""
        owner, count = self.owner.cpu(), self.settings.contexts_per_step
        keep = active[owner]
        if count:
            prefixed = self.is_context.cpu() & ~self.is_bare
            for i in torch.nonzero(active).flatten().tolist():
                candidates = torch.nonzero((owner == i) & prefixed).flatten()
                order = torch.randperm(len(candidates), generator=self.generators[i])
                keep[candidates[order[count:]]] = False
        return torch.nonzero(keep).flatten().to(self.lm.device)

    def row_losses(self, delta: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(R,) nats under `delta` (R, size), one change per row of `rows` (R,).

        Negative log-likelihood of the target, mean over its tokens, at contexts; KL from the unedited model at essence
        prompts.
        """
        new = torch.full((self.splice.batch.size,), -1, dtype=torch.long, device=rows.device)
        new[rows] = torch.arange(len(rows), device=rows.device)
        spots = torch.nonzero(new[self.spot_row] >= 0).flatten()
        spot_row = new[self.spot_row[spots]]
        essence = torch.nonzero(~self.is_context[rows]).flatten()

        gather = (torch.cat([spot_row, essence]), torch.cat([self.spot_column[spots], torch.zeros_like(essence)]))
        hooks = [self._adding(place, delta[:, part]) for place, part in zip(self.where, self.parts, strict=True)]
        logits = self._selected(rows).run(gather, hooks)
        assert logits is not None
        log_p = logits.float().log_softmax(-1)

        nll = -log_p[: len(spots)].gather(1, self.spot_token[spots][:, None])[:, 0] * self.spot_weight[spots]
        losses = torch.zeros(len(rows), device=delta.device).index_add(0, spot_row, nll)
        if len(essence) and self.essence_log_p is not None:
            # The ROME code calls kl_div(base, edited): the expectation is under the edited model.
            edited = log_p[len(spots) :]
            base = self.essence_log_p[rows[essence] - int(self.is_context.sum())]
            losses = losses.index_add(0, essence, (edited.exp() * (edited - base)).sum(-1))
        return losses

    def mean_over_contexts(self, losses: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(n,) mean of each request's context rows."""
        owner, weight = self.owner[rows], self.is_context[rows].float()
        zero = torch.zeros(self.n, device=losses.device)
        return zero.index_add(0, owner, losses * weight) / zero.index_add(0, owner, weight).clamp(min=1)

    def clamped(self, delta: torch.Tensor) -> torch.Tensor:
        """`delta` (n, size) with each part projected onto its ball of radius clamp * ||v0||."""
        limit = self.settings.clamp * self.scale
        return torch.cat([_within(delta[:, p], limit[:, i]) for i, p in enumerate(self.parts)], 1)

    def refuse_not_finite(self, loss: torch.Tensor, active: torch.Tensor, step: int) -> None:
        """Raises UserError where the loss (n,) of an active request is not a finite number."""
        bad = torch.nonzero(~torch.isfinite(loss.detach().cpu()) & active).flatten().tolist()
        if bad:
            raise UserError(
                f"request {self.chunk[bad[0]].id!r}: the loss of v* is not finite at step {step}; "
                "lower lr or check the model"
            )

    def values(self, delta: torch.Tensor, loss: torch.Tensor, steps: torch.Tensor) -> list[Value]:
        delta = delta.detach()
        return [Value(delta[i].cpu(), self.v0[i].cpu(), float(loss[i]), int(steps[i])) for i in range(self.n)]

    def _unedited(self) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Of the unedited model: the output (rows, size) of each place at every lookup; (essences, vocabulary) log P,
        or None.
        """
        outputs: dict[str, torch.Tensor] = {}

        def recording(place: Injection) -> Hook:
            def record(module: torch.nn.Module, args: tuple, output: object) -> None:
                hidden = first(output)
                value = hidden.reshape(self.splice.batch.size, -1, hidden.shape[-1])[:, 0].float().to(self.lm.device)
                outputs[place.path] = only_rows(value, place.rows)

            return place.path, record

        essence = torch.nonzero(~self.is_context).flatten()
        stop = None
        if not len(essence):  # no logits are needed
            last = max(self.where, key=lambda place: place.layer)
            stop = last.path if len(self.where) == 1 else self.lm.layout.blocks[last.layer]
        with torch.no_grad():
            logits = self.splice.run(
                (essence, torch.zeros_like(essence)), [recording(place) for place in self.where], stop=stop
            )
        log_p = None if logits is None else logits.float().log_softmax(-1)
        return [outputs[place.path] for place in self.where], log_p

    def _mean_over_bare(self, values: torch.Tensor) -> torch.Tensor:
        """(n, size) mean of `values` (rows, size) over the bare prompts of each request."""
        bare = torch.nonzero(self.is_bare).flatten().to(values.device)
        total = torch.zeros(self.n, values.shape[1], device=values.device)
        total.index_add_(0, self.owner[bare], values[bare])
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

    def _selected(self, rows: torch.Tensor) -> Splice:
        """The splice of `rows`; kept, because most steps use the same ones."""
        if self._selection is None or not torch.equal(self._selection[0], rows):
            whole = len(rows) == self.splice.batch.size
            self._selection = rows, self.splice if whole else self.splice.select(rows)
        return self._selection[1]


def _within(delta: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """Rows of (n, d) projected onto balls of radius `limit` (n,)."""
    norm = delta.norm(dim=1)
    return delta * torch.where(norm > limit, limit / norm.clamp(min=1e-12), torch.ones_like(norm))[:, None]
