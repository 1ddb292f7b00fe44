"""The problem of editing/solve/value.py for a chunk of requests: its rows, what the unedited model says, losses under changes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from editing.errors import BadRequest, UserError
from editing.model.language_model import LanguageModel
from editing.run.forward import Hook, first, with_first
from editing.run.splice import Splice
from editing.seeds import seed_for
from editing.solve.value import Injection, Value, ValueSettings
from editing.text.contexts import Contexts


class Problem:
    """One chunk: the rows are every context of every request, then the essence prompts."""

    def __init__(
        self,
        lm: LanguageModel,
        chunk: Sequence[Contexts],
        where: tuple[Injection, ...],
        settings: ValueSettings,
        seed: int,
    ) -> None:
        self.lm, self.chunk, self.where, self.settings = lm, chunk, where, settings
        rows = [(i, p) for i, c in enumerate(chunk) for p in c.prompts]
        essences = [(i, c.essence) for i, c in enumerate(chunk) if c.essence is not None]
        if any(p.target == () for _, p in rows):
            raise BadRequest(f"request {chunk[0].id!r}: v* needs a target")
        everything = rows + essences
        device = lm.device
        start = min(w.layer for w in where)
        prompts = [p for _, p in everything]
        self.splice = Splice.prepare(
            lm, [p.ids for p in prompts], [p.lookup for p in prompts], start, [p.head for p in prompts]
        )
        self.owner = torch.tensor([i for i, _ in everything], device=device)
        self.is_context = torch.tensor([True] * len(rows) + [False] * len(essences), device=device)
        self.is_bare = torch.tensor(
            [j < c.n_bare for c in chunk for j in range(len(c.prompts))] + [False] * len(essences)
        )
        # One entry per target token: the row and column whose logits predict it.
        places = [
            (r, p.start - 1 - p.lookup + t, token) for r, (_, p) in enumerate(rows) for t, token in enumerate(p.target)
        ]
        self.place_row, self.place_column, self.place_token = torch.tensor(places, device=device).T
        self.place_weight = torch.tensor([1.0 / len(rows[r][1].target) for r, _, _ in places], device=device)
        self.generators = [torch.Generator().manual_seed(seed_for(seed, c.id)) for c in chunk]
        self.base_log_p: torch.Tensor | None = None  # (essences, vocabulary) of the unedited model
        self.parts: list[slice] = []  # columns of delta that belong to each place of `where`
        self._last: tuple[torch.Tensor, Splice] | None = None
        self.v0 = self._measure_base()  # (n, size)
        self.scale = torch.stack([self.v0[:, part].norm(dim=1) for part in self.parts], 1)  # (n, places)

    @property
    def n(self) -> int:
        return len(self.chunk)

    def draw(self, active: torch.Tensor) -> torch.Tensor:
        """Rows of one step: all of the `active` (n,) requests, or their bare ones and a draw of the others."""
        keep = active[self.owner.cpu()]
        wanted = self.settings.contexts_per_step
        if wanted:
            for i in torch.nonzero(active).flatten().tolist():
                mine = torch.nonzero((self.owner.cpu() == i) & self.is_context.cpu() & ~self.is_bare).flatten()
                dropped = mine[torch.randperm(len(mine), generator=self.generators[i])[wanted:]]
                keep[dropped] = False
        return torch.nonzero(keep).flatten().to(self.lm.device)

    def _places(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which target tokens are in `rows`, and the new row number of each."""
        new = torch.full((self.splice.batch.size,), -1, dtype=torch.long, device=rows.device)
        new[rows] = torch.arange(len(rows), device=rows.device)
        inside = torch.nonzero(new[self.place_row] >= 0).flatten()
        return inside, new[self.place_row[inside]]

    def _measure_base(self) -> torch.Tensor:
        """v0 (n, size): mean output of the injected module at the bare prompts; and the essence distributions."""
        essence_rows = torch.nonzero(~self.is_context).flatten()
        columns = torch.zeros_like(essence_rows)
        seen: dict[str, torch.Tensor] = {}

        def note(place: Injection) -> Hook:
            def look(module: torch.nn.Module, args: tuple, output: object) -> None:
                value = (
                    first(output)
                    .reshape(self.splice.batch.size, -1, first(output).shape[-1])[:, 0]
                    .float()
                    .to(self.lm.device)
                )
                seen[place.path] = value if place.rows is None else value[:, list(place.rows)]

            return place.path, look

        notes = [note(place) for place in self.where]
        with torch.no_grad():
            if len(essence_rows):
                logits = self.splice.run((essence_rows, columns), notes)
                assert logits is not None
                self.base_log_p = logits.float().log_softmax(-1)
            else:
                last = max(self.where, key=lambda place: place.layer)
                stop = last.path if len(self.where) == 1 else self.lm.layout.blocks[last.layer]
                self.splice.run((essence_rows, columns), notes, stop=stop)
        widths = [seen[place.path].shape[1] for place in self.where]
        self.parts = [slice(sum(widths[:i]), sum(widths[: i + 1])) for i in range(len(widths))]
        values = torch.cat([seen[place.path] for place in self.where], 1)
        bare = torch.nonzero(self.is_bare).flatten().to(values.device)
        total = torch.zeros(len(self.chunk), values.shape[1], device=values.device)
        total.index_add_(0, self.owner[bare], values[bare])
        return total / torch.tensor([[float(c.n_bare)] for c in self.chunk], device=values.device)

    def _hook(self, place: Injection, delta: torch.Tensor) -> Hook:
        rows, size = place.rows, len(delta)

        def add(module: torch.nn.Module, args: tuple, output: object) -> object:
            hidden = first(output)
            shaped = hidden.reshape(size, -1, hidden.shape[-1])
            change = delta.to(hidden.device, hidden.dtype)
            if rows is not None:
                index = torch.tensor(rows, device=hidden.device)
                change = torch.zeros(size, hidden.shape[-1], dtype=hidden.dtype, device=hidden.device).index_copy(
                    1, index, change
                )
            changed = torch.cat([(shaped[:, 0] + change)[:, None], shaped[:, 1:]], 1)
            return with_first(output, changed.reshape(hidden.shape))

        return place.path, add

    def row_losses(self, delta: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(R,) nats under `delta` (R, size), one change per row of `rows` (R,).

        Negative log-likelihood of the target, mean over its tokens, at contexts; KL from the unedited model at essence prompts.
        """
        splice = self._selected(rows)
        inside, place_rows = self._places(rows)
        essence = torch.nonzero(~self.is_context[rows]).flatten()
        gather = (torch.cat([place_rows, essence]), torch.cat([self.place_column[inside], torch.zeros_like(essence)]))
        hooks = [self._hook(w, delta[:, part]) for w, part in zip(self.where, self.parts, strict=True)]
        logits = splice.run(gather, hooks)
        assert logits is not None
        log_p = logits.float().log_softmax(-1)
        nll = -log_p[: len(inside)].gather(1, self.place_token[inside][:, None])[:, 0] * self.place_weight[inside]
        losses = torch.zeros(len(rows), device=delta.device).index_add(0, place_rows, nll)
        if len(essence) and self.base_log_p is not None:
            # The ROME code calls kl_div(base, edited): the expectation is under the edited model.
            edited = log_p[len(inside) :]
            base = self.base_log_p[rows[essence] - int(self.is_context.sum())]
            losses = losses.index_add(0, essence, (edited.exp() * (edited - base)).sum(-1))
        return losses

    def mean_over_contexts(self, losses: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(n,) mean of each request's context rows."""
        owner, wanted = self.owner[rows], self.is_context[rows].float()
        zero = torch.zeros(self.n, device=losses.device)
        return zero.index_add(0, owner, losses * wanted) / zero.index_add(0, owner, wanted).clamp(min=1)

    def clamped(self, delta: torch.Tensor) -> torch.Tensor:
        """`delta` (n, size) with each part projected onto its ball of radius clamp * ||v0||."""
        limit = self.settings.clamp * self.scale
        return torch.cat([_within(delta[:, p], limit[:, i]) for i, p in enumerate(self.parts)], 1)

    def refuse_not_finite(self, loss: torch.Tensor, active: torch.Tensor, step: int) -> None:
        """Raises UserError where the loss (n,) of an active request is not a finite number."""
        bad = torch.nonzero(~torch.isfinite(loss.detach().cpu()) & active).flatten().tolist()
        if bad:
            who = self.chunk[bad[0]].id
            raise UserError(
                f"request {who!r}: the loss of v* is not finite at step {step}; lower lr or check the model"
            )

    def values(self, delta: torch.Tensor, loss: torch.Tensor, steps: torch.Tensor) -> list[Value]:
        delta = delta.detach()
        return [Value(delta[i].cpu(), self.v0[i].cpu(), float(loss[i]), int(steps[i])) for i in range(self.n)]

    def _selected(self, rows: torch.Tensor) -> Splice:
        """The splice of `rows`; kept, because most steps ask for the same ones."""
        if self._last is None or not torch.equal(self._last[0], rows):
            whole = len(rows) == self.splice.batch.size
            self._last = rows, self.splice if whole else self.splice.select(rows)
        return self._last[1]


def _within(delta: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """Rows of (n, d) projected onto balls of radius `limit` (n,)."""
    norm = delta.norm(dim=1)
    return delta * torch.where(norm > limit, limit / norm.clamp(min=1e-12), torch.ones_like(norm))[:, None]
