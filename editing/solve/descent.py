"""Gradient descent on changes made by hooks; the model's own parameters are neither changed nor differentiated.

Many problems (edits) run in the same forward passes, each with its own parameters, its own Adam state and its own stop.
The state entering the lowest edited block is computed once; a step runs the blocks from there up, on whole sequences,
because a change of a weight acts at every position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from editing.errors import Unreachable, UserError
from editing.lazy import torch
from editing.model import Hook, LanguageModel, in_rows
from editing.run import Budget, Splice, attempt
from editing.seeds import seed_for
from editing.text import Prompt

BATCH_TOKENS = 2048
# Parameters of all problems in one descent; Adam's two moments and the gradient take three times as much again.
PARAMETERS = 2**26

Hooks = Callable[[Sequence["torch.Tensor"], "torch.Tensor"], list[Hook]]
Project = Callable[[list["torch.Tensor"]], list["torch.Tensor"]]


@dataclass(frozen=True)
class TrainingSet:
    """What one change is trained on.

    Attributes:
        name: of the problem, for errors.
        prompts: with their targets; the loss is the mean over them of the mean NLL of the target's tokens.
        until: the prompts whose loss `Descent.stop_loss` is compared with; none: that of `prompts`.
    """

    name: str
    prompts: Sequence[Prompt]
    until: Sequence[Prompt] = ()


@dataclass(frozen=True)
class Descent:
    """How to descend.

    Attributes:
        steps: largest number of updates. lr: learning rate of Adam.
        stop_loss: a problem is finished when its loss is below; see `TrainingSet.until`.
        at_prompt: predict all target tokens at the prompt's last position (FT-L), not each behind its predecessors.
        batch: prompts of an update; then `steps` counts epochs, each of which takes the prompts in a new order drawn by
            `seed`, and the loss is that of a whole epoch. 0: all prompts in every update.
    """

    steps: int
    lr: float
    stop_loss: float
    at_prompt: bool = False
    batch: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """loss: the last one measured, mean nats per target token, before the last update; steps: updates made."""

    loss: float
    steps: int

    def note(self) -> dict[str, float]:
        """The summary of the descent in a delta's provenance."""
        return {"loss": self.loss, "steps": self.steps}


@dataclass(frozen=True)
class _Row:
    """One prompt: the problem it belongs to, its share in that problem's loss and in what `stop_loss` is compared
    with."""

    owner: int
    prompt: Prompt
    shares: tuple[float, float]


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some sequences: which problem each belongs to, and where its target tokens are predicted.

    Attributes:
        owner: (B,) ascending. spots: (N, 3) row, column, token of every target token.
        weight: (2, N) its share in the problem's loss, and in what `stop_loss` is compared with.
    """

    splice: Splice
    owner: torch.Tensor
    spots: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(cls, lm: LanguageModel, rows: Sequence[_Row], start: int, at_prompt: bool) -> _Batch:
        ids = [r.prompt.ids[: r.prompt.start] if at_prompt else r.prompt.ids for r in rows]
        splice = Splice.prepare(lm, ids, [0] * len(rows), start)
        spots, weight = [], []
        for i, row in enumerate(rows):
            for t, token in enumerate(row.prompt.target):
                spots.append((i, row.prompt.start - 1 + (0 if at_prompt else t), token))
                weight.append([share / len(row.prompt.target) for share in row.shares])
        owner = torch.tensor([row.owner for row in rows], device=lm.device)
        return cls(splice, owner, torch.tensor(spots, device=lm.device), torch.tensor(weight, device=lm.device).T)

    def only(self, active: torch.Tensor) -> _Batch | None:
        """The sequences of the active problems."""
        keep = active.to(self.owner.device)[self.owner]
        if bool(keep.all()):
            return self
        if not bool(keep.any()):
            return None
        return self._rows(keep)

    def halves(self) -> list[_Batch]:
        """The same sequences in two batches."""
        first = torch.arange(len(self.owner), device=self.owner.device) < len(self.owner) // 2
        return [self._rows(first), self._rows(~first)]

    def _rows(self, keep: torch.Tensor) -> _Batch:
        new = keep.cumsum(0) - 1
        inside = keep[self.spots[:, 0]]
        spots = self.spots[inside].clone()
        spots[:, 0] = new[spots[:, 0]]
        splice = self.splice.select(torch.nonzero(keep).flatten())
        return _Batch(splice, self.owner[keep], spots, self.weight[:, inside])

    def loss(self, hooks: list[Hook], n: int) -> torch.Tensor:
        """(2, n) share of this batch in the loss of every problem, and in what `stop_loss` is compared with."""
        logits = self.splice.run((self.spots[:, 0], self.spots[:, 1]), hooks)
        assert logits is not None
        nll = -logits.float().log_softmax(-1).gather(1, self.spots[:, 2:])[:, 0] * self.weight
        return torch.zeros(2, n, device=nll.device).index_add(1, self.owner[self.spots[:, 0]], nll)


def descend(
    lm: LanguageModel,
    problems: Sequence[TrainingSet],
    start: int,
    parameters: Sequence[torch.Tensor],
    hooks: Hooks,
    how: Descent,
    *,
    project: Project | None = None,
    penalty: Callable[[Sequence[torch.Tensor]], torch.Tensor] | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> tuple[list[torch.Tensor], list[Outcome]]:
    """Adam on `parameters`, each (n_problems, ...), until every problem has stopped.

    Args:
        start: the lowest block that `hooks` change.
        hooks: hooks(parameters, owner) give sequence i the change of problem owner[i]; `owner` is ascending.
        project: applied to the parameters after every update.
        penalty: (n_problems,) added to the loss.

    Raises:
        Unreachable: a problem's loss does not depend on its parameters.
        UserError: a loss is not finite.
        OutOfMemory: a sequence does not fit alone.
    """
    n = len(problems)
    in_batches = how.batch and any(len(problem.prompts) > how.batch for problem in problems)
    if in_batches and (n > 1 or problems[0].until):
        raise ValueError("mini-batches are for one problem at a time, which stops by its own loss")
    labels = [f"request {problem.name!r}" for problem in problems]
    budget = Budget(lm.batch_tokens(batch_tokens), "descending")
    batches = _batches(lm, problems, start, how, budget, labels)
    values = [p.to(lm.device, torch.float32, copy=True).requires_grad_() for p in parameters]
    adam = torch.optim.Adam(values, lr=how.lr, fused=True)
    active = torch.ones(n, dtype=torch.bool)
    last_loss, steps = torch.full((n,), float("nan")), torch.zeros(n, dtype=torch.long)
    for step in range(how.steps):
        if in_batches:
            loss = _epoch(values, batches, hooks, how, step, adam, project, budget, labels)
            last_loss, steps = loss, steps + 1
            _refuse_not_finite(last_loss, step, labels)
            if last_loss < how.stop_loss:
                break
            continue
        adam.zero_grad()
        (loss, judged), batches = _pass(values, batches, hooks, n, budget, labels)
        if penalty is not None:
            share, gradients = _slope(values, lambda: penalty(values)[None])
            loss, judged = loss + share[0], judged + share[0]
            _add(values, gradients)
        last_loss = torch.where(active, loss, last_loss)
        _refuse_not_finite(last_loss, step, labels)
        if step == 0:
            _refuse_unreachable(values, active, labels)
        stopped = active & (judged < how.stop_loss)
        active = active & ~stopped
        if not active.any():
            break
        if stopped.any():
            batches = [rest for batch in batches if (rest := batch.only(active)) is not None]
        steps[active] += 1
        _update(adam, values, active, project)
    return [v.detach() for v in values], [Outcome(float(last_loss[i]), int(steps[i])) for i in range(n)]


def _epoch(
    values: Sequence[torch.Tensor],
    batches: Sequence[_Batch],
    hooks: Hooks,
    how: Descent,
    number: int,
    adam: torch.optim.Adam,
    project: Project | None,
    budget: Budget,
    labels: Sequence[str],
) -> torch.Tensor:
    """One update per mini-batch of the only problem, in an order of epoch `number`; (1,) the mean loss on the way."""
    count = sum(len(batch.owner) for batch in batches)
    draw = torch.Generator().manual_seed(seed_for(how.seed, f"epoch {number}"))
    order, total, active = torch.randperm(count, generator=draw), torch.zeros(1), torch.ones(1, dtype=torch.bool)
    for start in range(0, count, how.batch):
        chosen = order[start : start + how.batch]
        taken, at = [], 0
        for batch in batches:
            inside = torch.zeros(count, dtype=torch.bool)
            inside[chosen] = True
            keep = inside[at : at + len(batch.owner)].to(batch.owner.device)
            at += len(batch.owner)
            if bool(keep.any()):
                taken.append(batch._rows(keep))
        adam.zero_grad()
        (loss, _), _ = _pass(values, taken, hooks, 1, budget, labels)
        total += loss
        for value in values:  # the rows' weights are shares of the whole problem
            assert value.grad is not None
            value.grad.mul_(count / len(chosen))
        if number == start == 0:
            _refuse_unreachable(values, active, labels)
        _update(adam, values, active, project)
    return total


def _batches(
    lm: LanguageModel,
    problems: Sequence[TrainingSet],
    start: int,
    how: Descent,
    budget: Budget,
    labels: Sequence[str],
) -> list[_Batch]:
    """All prompts of all problems, in order; each counts the same within its problem, and so does each of `until`."""
    rows: list[_Row] = []
    for i, problem in enumerate(problems):
        share, until = 1.0 / len(problem.prompts), problem.until
        rows += [_Row(i, p, (share, 0.0 if until else share)) for p in problem.prompts]
        rows += [_Row(i, p, (0.0, 1.0 / len(until))) for p in until]

    def prepare(members: list[int]) -> _Batch:
        return _Batch.of(lm, [rows[m] for m in members], start, how.at_prompt)

    widths, owners = [len(row.prompt.ids) for row in rows], [labels[row.owner] for row in rows]
    return [batch for _, batch in budget.run(widths, prepare, names=owners, by_length=False)]


def _pass(
    values: Sequence[torch.Tensor],
    batches: Sequence[_Batch],
    hooks: Hooks,
    n: int,
    budget: Budget,
    labels: Sequence[str],
) -> tuple[torch.Tensor, list[_Batch]]:
    """Add the gradients of all `batches` to `values`; what `_Batch.loss` gives (2, n), and the batches, those halved
    that did not fit."""
    loss, fitting, waiting = torch.zeros(2, n), [], list(batches)
    while waiting:
        batch = waiting.pop(0)
        result = attempt(lambda batch=batch: _slope(values, lambda: batch.loss(hooks(values, batch.owner), n)))
        if result is None:
            tokens = batch.splice.batch.ids.numel()
            if len(batch.owner) == 1:
                raise budget.alone(labels[int(batch.owner)], tokens)
            budget.halved(tokens)
            waiting = [*batch.halves(), *waiting]
            continue
        ((share, gradients),) = result
        loss += share
        _add(values, gradients)
        fitting.append(batch)
    return loss, fitting


def _slope(
    values: Sequence[torch.Tensor], losses: Callable[[], torch.Tensor]
) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
    """`losses()` (., n) on the CPU, and the gradient of the sum of its first row with respect to `values`."""
    with torch.enable_grad():
        loss = losses()
        return loss.detach().cpu(), torch.autograd.grad(loss[0].sum(), values)


def _add(values: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor]) -> None:
    """What `backward` does, but only once a pass is whole: one that ran out of memory would leave half of its
    gradients.
    """
    for value, gradient in zip(values, gradients, strict=True):
        value.grad = gradient.contiguous() if value.grad is None else value.grad.add_(gradient)


def _update(
    adam: torch.optim.Adam, values: Sequence[torch.Tensor], active: torch.Tensor, project: Project | None
) -> None:
    """One step of Adam on the `active` (n,) problems; its momentum would carry the others on."""
    still = ~active.to(values[0].device)
    before = [v.detach()[still] for v in values]
    adam.step()
    with torch.no_grad():
        for value, old in zip(values, before, strict=True):
            value[still] = old
        if project is not None:
            for value, new in zip(values, project(list(values)), strict=True):
                value.copy_(new)


def _refuse_unreachable(values: Sequence[torch.Tensor], active: torch.Tensor, labels: Sequence[str]) -> None:
    """Adam would turn the rounding of a gradient that is none into steps of full length."""
    largest = torch.stack([v.grad.abs().flatten(1).amax(1) for v in values if v.grad is not None]).amax(0).cpu()
    dead = torch.nonzero((largest == 0) & active).flatten().tolist()
    if dead:
        raise Unreachable(
            f"{labels[dead[0]]}: no token of the target depends on what is trained, so no edit there is reachable; "
            "take another site or a lower depth"
        )


def _refuse_not_finite(loss: torch.Tensor, step: int, labels: Sequence[str]) -> None:
    bad = torch.nonzero(~torch.isfinite(loss)).flatten().tolist()
    if bad:
        name = labels[bad[0]]
        raise UserError(f"{name}: the loss is not finite at step {step}; lower lr or check the model")


def by_owner(key_BTI: torch.Tensor, matrix_nOI: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
    """(B, T, O): every sequence through its problem's matrix. Runs of one owner share a product, nothing is copied."""
    runs, counts = torch.unique_consecutive(owner, return_counts=True)
    pieces = key_BTI.split(counts.tolist())
    matrices = matrix_nOI.unbind()  # indexing one by one would give each a gradient as large as all of them
    return torch.cat([k @ matrices[i].T.to(k.dtype) for i, k in zip(runs.tolist(), pieces, strict=True)])


def adding(path: str, change: Callable[[torch.Tensor], torch.Tensor], owner: torch.Tensor, rows=None) -> Hook:
    """A hook that adds `change(key)` (B, T, size) to a linear map's output, on all or some of its `rows`.

    `key` (B, T, d_in) is the map's input, which OPT passes flattened.
    """

    def hook(module: torch.nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        out = output.reshape(len(owner), -1, output.shape[-1])
        amount = change(args[0].reshape(len(owner), out.shape[1], -1).to(owner.device)).to(out.device, out.dtype)
        return (out + in_rows(amount, rows, out.shape[-1])).reshape(output.shape)

    return path, hook


def groups_of(count: int, size: int, limit: int = PARAMETERS) -> list[range]:
    """`count` problems of `size` parameters each, in runs that fit into `limit`."""
    each = max(1, limit // max(size, 1))
    return [range(i, min(i + each, count)) for i in range(0, count, each)]
