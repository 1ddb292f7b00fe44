"""Inputs and gradients of maps, token by token, and their running statistics: what UltraEdit and MEND make edits of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from editing.lazy import torch
from editing.model import Hook, LanguageModel, Site, only_rows
from editing.run import Budget, first, forward, pad, with_first
from editing.text import Contexts, Prompt

Where = Literal["target", "lookup", "text"]


@dataclass(frozen=True, eq=False)
class Running:
    """Count, means (d,) and sums of squared deviations (d,) of the features of one shape so far, float64 (Welford)."""

    count: int
    mean: torch.Tensor
    squares: torch.Tensor

    @classmethod
    def empty(cls, size: int) -> Running:
        return cls(0, torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64))

    def updated(self, rows: torch.Tensor, as_published: bool = False) -> Running:
        """With the features `rows` (n, d) counted in.

        The authors add n times the unbiased variance of the new rows where Welford's rule has n - 1 times.
        """
        rows, n = rows.double(), len(rows)
        squares = ((rows - rows.mean(0)) ** 2).sum(0) * (n / (n - 1) if as_published and n > 1 else 1)
        return self.joined(Running(n, rows.mean(0), squares))

    def joined(self, other: Running) -> Running:
        """Of the features of both (Chan, Golub and LeVeque 1983)."""
        count, shift = self.count + other.count, other.mean - self.mean
        squares = self.squares + other.squares + shift**2 * self.count * other.count / count
        return Running(count, self.mean + shift * other.count / count, squares)

    def normalised(self, rows: torch.Tensor) -> torch.Tensor:
        deviation = (self.squares / max(self.count - 1, 1)).sqrt()
        return (rows.double() - self.mean) / (deviation + torch.finfo(torch.float32).eps)


@dataclass(frozen=True, eq=False)
class Features:
    """Of one map, one row per position: key (N, d_in), gradient and output (N, size)."""

    key: torch.Tensor
    gradient: torch.Tensor
    output: torch.Tensor

    @classmethod
    def together(cls, parts: Sequence[Features]) -> Features:
        """The rows of all `parts`."""
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def apart(self, counts: Sequence[int]) -> list[Features]:
        """The first `counts[0]` rows, the next `counts[1]`, and so on."""
        parts = zip(*(getattr(self, f.name).split(list(counts)) for f in fields(self)), strict=True)
        return [Features(*one) for one in parts]

    @property
    def reached(self) -> torch.Tensor:
        """(N,) whether the loss depends on the map's output at the position."""
        return self.gradient.abs().amax(1) != 0

    def both(self) -> torch.Tensor:
        """(N, d_in + size) keys beside gradients."""
        return torch.cat([self.key, self.gradient], 1)


def read_features(
    lm: LanguageModel,
    requests: Sequence[Contexts],
    sites: Sequence[Site],
    shares: Sequence[Sequence[float]],
    where: Where,
    batch_tokens: int = 4096,
) -> dict[Site, Features]:
    """Keys, outputs and gradients of the loss: over all prompts j of all requests i, `shares[i][j]` x the loss of each
    token of the target.

    At the positions that predict a token of the target, at the lookups, or at every token of every prompt in order.
    """
    rows = [
        (p, share) for c, own in zip(requests, shares, strict=True) for p, share in zip(c.prompts, own, strict=True)
    ]

    def read(members: list[int]) -> dict[Site, Features]:
        return _read(lm, [rows[m] for m in members], sites, where)

    budget = Budget(lm.batch_tokens(batch_tokens), "reading gradients")
    parts = [part for _, part in budget.run([len(p.ids) for p, _ in rows], read, by_length=False)]
    return {s: Features.together([p[s] for p in parts]) for s in sites}


def _read(
    lm: LanguageModel, rows: Sequence[tuple[Prompt, float]], sites: Sequence[Site], where: Where
) -> dict[Site, Features]:
    batch = pad([p.ids for p, _ in rows], lm, side="right")
    width = batch.ids.shape[1]
    keys: dict[str, torch.Tensor] = {}
    outputs: dict[str, torch.Tensor] = {}
    probes: dict[str, torch.Tensor] = {}

    def probe(site: Site) -> Hook:
        def hook(module: torch.nn.Module, args: tuple, output: object) -> object:
            hidden = first(output)
            keys[site.path] = args[0].detach().reshape(len(rows), width, -1)
            outputs[site.path] = hidden.detach().reshape(len(rows), width, -1)
            probes[site.path] = torch.zeros_like(hidden, requires_grad=True)
            return with_first(output, hidden + probes[site.path])

        return site.path, hook

    places = [
        (r, p.start - 1 + t, token, share) for r, (p, share) in enumerate(rows) for t, token in enumerate(p.target)
    ]
    row, column, token = (torch.tensor([q[n] for q in places], device=lm.device) for n in range(3))
    weight = torch.tensor([q[3] for q in places], device=lm.device)
    with torch.enable_grad():
        logits = forward(lm, batch, gather=(row, column), hooks=[probe(s) for s in sites])
        assert logits is not None
        loss = -(logits.float().log_softmax(-1).gather(1, token[:, None])[:, 0] * weight).sum()
        gradients = torch.autograd.grad(loss, [probes[s.path] for s in sites])
    if where == "lookup":
        row = torch.arange(len(rows), device=lm.device)
        column = torch.tensor([p.lookup for p, _ in rows], device=lm.device)
    if where == "text":
        row, column = torch.tensor([(r, t) for r, (p, _) in enumerate(rows) for t in range(len(p.ids))]).T.to(lm.device)

    def pick(values: torch.Tensor) -> torch.Tensor:
        shaped = values.reshape(len(rows), width, -1)
        return shaped[row.to(values.device), column.to(values.device)].float().cpu()

    return {
        site: Features(
            pick(keys[site.path]),
            only_rows(pick(gradient), site.rows),
            only_rows(pick(outputs[site.path]), site.rows),
        )
        for site, gradient in zip(sites, gradients, strict=True)
    }
