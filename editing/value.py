"""v*: the output at the lookup position that makes the model say the target, found for many requests at once.

Meng et al. 2022 (ROME), equation 4: minimise over delta the mean negative log-likelihood of the target over contexts, plus
KL divergence of the next-token distribution after "{subject} is a", plus weight decay; project onto ||delta|| <= c ||v0||.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from editing.batching import Budget
from editing.contexts import Contexts
from editing.errors import BadRequest, UserError
from editing.forward import Hook, first, with_first
from editing.language_model import LanguageModel
from editing.seeds import seed_for
from editing.sites import Site
from editing.splice import Splice


@dataclass(frozen=True)
class ValueSettings:
    """How v* is searched.

    Attributes:
        steps: passes of the optimiser; the last one only measures, as in the ROME code.
        lr: of Adam.
        kl: weight of the KL term. weight_decay: weight of ||delta|| / ||v0||^2.
        clamp: largest ||delta|| / ||v0||.
        stop_loss: a request is finished when its loss is below.
        contexts_per_step: prefixed contexts drawn per step beside the bare prompts; 0 means all.
        precision: "float32"; "bfloat16"; or "auto", bfloat16 where it is faster.
    """

    steps: int = 20
    lr: float = 0.5
    kl: float = 0.0625
    weight_decay: float = 0.5
    clamp: float = 4.0
    stop_loss: float = 0.05
    contexts_per_step: int = 0
    precision: str = "float32"

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
    source = lm.half if settings.precision == "bfloat16" or (settings.precision == "auto" and lm.half_wins) else lm
    places = (where,) if isinstance(where, Injection) else tuple(where)
    prompts = [(*c.prompts, *([c.essence] if c.essence else [])) for c in requests]
    solve = lambda chunk: _Problem(source, [requests[i] for i in chunk], places, settings, seed).solve()  # noqa: E731
    solved = Budget(lm.batch_tokens(batch_tokens), "searching v*").run(
        [max(len(p.ids) - p.lookup for p in mine) for mine in prompts],
        solve,
        rows=[len(mine) for mine in prompts],
        names=[f"request {c.id!r}" for c in requests],
        by_length=False,
    )
    return [value for _, chunk in solved for value in chunk]


class _Problem:
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
        self.splice = Splice.prepare(lm, [p.ids for _, p in everything], [p.lookup for _, p in everything], start)
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

    def solve(self) -> list[Value]:
        settings, n = self.settings, len(self.chunk)
        v0 = self._measure_base()
        scale = torch.stack([v0[:, part].norm(dim=1) for part in self.parts], 1)
        delta = torch.zeros_like(v0)
        moment, square = torch.zeros_like(v0), torch.zeros_like(v0)
        loss_now = torch.full((n,), float("nan"))
        steps = torch.zeros(n, dtype=torch.long)
        active = torch.ones(n, dtype=torch.bool)
        selected: tuple[torch.Tensor, Splice] | None = None
        for step in range(settings.steps):
            rows = self._rows(active)
            if selected is None or not torch.equal(selected[0], rows):
                whole = len(rows) == self.splice.batch.size
                selected = rows, self.splice if whole else self.splice.select(rows)
            delta.requires_grad_(True)
            with torch.enable_grad():
                loss = self._loss(delta, scale, *selected)
            if not bool(torch.isfinite(loss.detach().cpu()[active]).all()):
                bad = [
                    c.id
                    for c, finite, on in zip(self.chunk, torch.isfinite(loss.cpu()), active, strict=True)
                    if on and not finite
                ]
                raise UserError(
                    f"request {bad[0]!r}: the loss of v* is not finite at step {step}; lower lr or check the model"
                )
            loss_now = torch.where(active, loss.detach().cpu(), loss_now)
            steps[active] = step + 1
            active &= loss_now >= settings.stop_loss
            if step == settings.steps - 1 or not active.any():
                delta = delta.detach()
                break
            (gradient,) = torch.autograd.grad(loss.sum(), delta)
            with torch.no_grad():
                moving = active.to(delta.device)[:, None]
                moment = torch.where(moving, 0.9 * moment + 0.1 * gradient, moment)
                square = torch.where(moving, 0.999 * square + 0.001 * gradient**2, square)
                update = (moment / (1 - 0.9 ** (step + 1))) / ((square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
                delta = torch.where(moving, delta - settings.lr * update, delta)
                delta = torch.cat(
                    [_clamped(delta[:, p], settings.clamp * scale[:, i]) for i, p in enumerate(self.parts)], 1
                )
        delta = delta.detach()
        return [Value(delta[i].cpu(), v0[i].cpu(), float(loss_now[i]), int(steps[i])) for i in range(n)]

    def _rows(self, active: torch.Tensor) -> torch.Tensor:
        """Rows of this step: all of the active requests, or their bare ones and a draw of the others."""
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

    def _hook(self, place: Injection, delta: torch.Tensor, owner: torch.Tensor) -> Hook:
        rows = place.rows

        def add(module: torch.nn.Module, args: tuple, output: object) -> object:
            hidden = first(output)
            shaped = hidden.reshape(len(owner), -1, hidden.shape[-1])
            change = delta[owner].to(hidden.device, hidden.dtype)
            if rows is not None:
                index = torch.tensor(rows, device=hidden.device)
                change = torch.zeros(len(owner), hidden.shape[-1], dtype=hidden.dtype, device=hidden.device).index_copy(
                    1, index, change
                )
            changed = torch.cat([(shaped[:, 0] + change)[:, None], shaped[:, 1:]], 1)
            return with_first(output, changed.reshape(hidden.shape))

        return place.path, add

    def _loss(self, delta: torch.Tensor, scale: torch.Tensor, rows: torch.Tensor, splice: Splice) -> torch.Tensor:
        """(n,) loss per request; requests without rows get their weight decay only."""
        settings, n = self.settings, len(self.chunk)
        owner = self.owner[rows]
        inside, place_rows = self._places(rows)
        essence = torch.nonzero(~self.is_context[rows]).flatten()
        gather = (torch.cat([place_rows, essence]), torch.cat([self.place_column[inside], torch.zeros_like(essence)]))
        hooks = [self._hook(w, delta[:, part], owner) for w, part in zip(self.where, self.parts, strict=True)]
        logits = splice.run(gather, hooks)
        assert logits is not None
        log_p = logits.float().log_softmax(-1)
        count = torch.zeros(n, device=delta.device).index_add_(0, owner, self.is_context[rows].float()).clamp(min=1)
        token_owner = self.owner[self.place_row[inside]]
        nll = -log_p[: len(inside)].gather(1, self.place_token[inside][:, None])[:, 0] * self.place_weight[inside]
        loss = torch.zeros(n, device=delta.device).index_add(0, token_owner, nll) / count
        if len(essence) and self.base_log_p is not None:
            # The ROME code calls kl_div(base, edited): the expectation is under the edited model.
            edited = log_p[len(inside) :]
            first_essence = int(self.is_context.sum())
            base = self.base_log_p[rows[essence] - first_essence]
            divergence = (edited.exp() * (edited - base)).sum(-1)
            loss = loss + settings.kl * torch.zeros(n, device=delta.device).index_add(0, owner[essence], divergence)
        # Gradient of the norm at zero is taken as zero, as torch.norm does.
        for i, part in enumerate(self.parts):
            loss = loss + settings.weight_decay * delta[:, part].norm(dim=1) / scale[:, i] ** 2
        return loss


def _clamped(delta: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """Rows of (n, d) projected onto balls of radius `limit` (n,)."""
    norm = delta.norm(dim=1)
    return delta * torch.where(norm > limit, limit / norm.clamp(min=1e-12), torch.ones_like(norm))[:, None]
