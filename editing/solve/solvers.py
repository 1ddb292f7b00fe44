"""Two ways to find v*: Adam, as the papers do it, and Gauss-Newton, which needs about a third of the passes.

Both work on many requests at once; each request stops by itself.

Gauss-Newton uses what a batched pass gives at no cost: the gradient g_i of every context's own negative log-likelihood
l_i, not only that of their mean. A step is the smallest change that would bring every l_i to an aim a if they were
linear,

    d = -G^T (G G^T + mu tr(G G^T)/m I)^-1 (l - a),

G the rows g_i (the essence prompt's KL is one more row that is to become zero), cut to a trust radius of ||v0||. This
is a damped Gauss-Newton step (Levenberg 1944, Marquardt 1963) for the residuals l_i - a, in its dual form because there
are far fewer contexts than dimensions. The smallest change that does it makes weight decay unnecessary.
"""

from __future__ import annotations

from collections.abc import Sequence

from editing.lazy import torch
from editing.model import LanguageModel
from editing.solve.objective import Problem
from editing.solve.settings import Injection, Value, ValueSettings
from editing.text import Contexts

DAMPING = 0.3  # mu
AIM = 1 / 3  # a, as a share of stop_loss
RADIUS = 1.0  # largest step, in ||v0||
ROME_KL = 0.0625  # at this weight of the KL term the essence prompt counts as much as a context


def solve(
    lm: LanguageModel,
    chunk: Sequence[Contexts],
    where: tuple[Injection, ...],
    settings: ValueSettings,
    seed: int,
) -> list[Value]:
    """v* of every request of one chunk by `settings.optimiser`."""
    problem = Problem(lm, chunk, where, settings, seed)
    return adam(problem) if settings.optimiser == "adam" else gauss_newton(problem)


def adam(problem: Problem) -> list[Value]:
    """ROME's compute_v and MEMIT's compute_z: Adam on the mean loss of the contexts + KL + weight decay."""
    settings, n = problem.settings, problem.n
    delta = torch.zeros_like(problem.v0)
    moment, square = torch.zeros_like(delta), torch.zeros_like(delta)
    loss_now, steps = torch.full((n,), float("nan")), torch.zeros(n, dtype=torch.long)
    active = torch.ones(n, dtype=torch.bool)
    for step in range(settings.steps):
        rows = problem.draw(active)
        delta.requires_grad_(True)
        with torch.enable_grad():
            loss = _papers_loss(problem, delta, rows)
        problem.refuse_not_finite(loss, active, step)
        loss_now = torch.where(active, loss.detach().cpu(), loss_now)
        steps[active] = step + 1
        active &= loss_now >= settings.stop_loss
        if step == settings.steps - 1 or not active.any():
            break
        (gradient,) = torch.autograd.grad(loss.sum(), delta)
        with torch.no_grad():
            moving = active.to(delta.device)[:, None]
            moment = torch.where(moving, 0.9 * moment + 0.1 * gradient, moment)
            square = torch.where(moving, 0.999 * square + 0.001 * gradient**2, square)
            update = (moment / (1 - 0.9 ** (step + 1))) / ((square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
            delta = problem.clamped(torch.where(moving, delta - settings.lr * update, delta))
    return problem.values(delta, loss_now, steps)


def _papers_loss(problem: Problem, delta: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(n,) of delta (n, size); requests without rows get their weight decay only."""
    settings, owner = problem.settings, problem.owner[rows]
    losses = problem.row_losses(delta[owner], rows)
    loss = problem.mean_over_contexts(losses, rows)
    essence = torch.nonzero(~problem.is_context[rows]).flatten()
    loss = loss + settings.kl * torch.zeros_like(loss).index_add(0, owner[essence], losses[essence])
    # Gradient of the norm at zero is taken as zero, as torch.norm does.
    for i, part in enumerate(problem.parts):
        loss = loss + settings.weight_decay * delta[:, part].norm(dim=1) / problem.scale[:, i] ** 2
    return loss


def gauss_newton(problem: Problem) -> list[Value]:
    """Damped least-norm steps on the contexts' own losses; see the head of this file."""
    settings, n = problem.settings, problem.n
    delta = torch.zeros_like(problem.v0)
    loss_now, steps = torch.full((n,), float("nan")), torch.zeros(n, dtype=torch.long)
    active = torch.ones(n, dtype=torch.bool)
    weight = (settings.kl / ROME_KL) ** 0.5  # least squares squares it
    for step in range(settings.steps):
        rows = problem.draw(active)
        owner, is_context = problem.owner[rows], problem.is_context[rows]
        each = delta[owner].requires_grad_(True)
        with torch.enable_grad():
            losses = problem.row_losses(each, rows)
        loss = problem.mean_over_contexts(losses.detach(), rows)
        problem.refuse_not_finite(loss, active, step)
        loss_now = torch.where(active, loss.cpu(), loss_now)
        steps[active] = step + 1
        active &= loss_now >= settings.stop_loss
        if step == settings.steps - 1 or not active.any():
            break
        (gradient,) = torch.autograd.grad(losses.sum(), each)
        with torch.no_grad():
            factor = torch.where(is_context, 1.0, weight)
            aim = torch.where(is_context, AIM * settings.stop_loss, 0.0)
            residual = factor * (losses.detach() - aim).clamp(min=0)
            change = _least_norm(factor[:, None] * gradient.float(), residual, owner, n)
            for i, part in enumerate(problem.parts):
                longest = RADIUS * problem.scale[:, i : i + 1]
                change[:, part] *= (longest / change[:, part].norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
            moving = active.to(delta.device)[:, None]
            delta = problem.clamped(torch.where(moving, delta - change, delta))
    return problem.values(delta, loss_now, steps)


def _least_norm(gradient_RD: torch.Tensor, residual_R: torch.Tensor, owner_R: torch.Tensor, n: int) -> torch.Tensor:
    """(n, D): per owner the damped least-norm solution d of gradient d = residual, all owners in one batched solve."""
    order = torch.argsort(owner_R, stable=True)
    owner = owner_R[order]
    count = torch.bincount(owner, minlength=n)
    place = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count)[owner]
    widest = int(count.max())
    g_nmD = gradient_RD.new_zeros(n, widest, gradient_RD.shape[1])
    r_nm = residual_R.new_zeros(n, widest)
    g_nmD[owner, place], r_nm[owner, place] = gradient_RD[order], residual_R[order]
    gram = g_nmD @ g_nmD.mT
    damping = DAMPING * gram.diagonal(dim1=1, dim2=2).sum(1) / count.clamp(min=1)
    # Padded rows have zero gradient and residual: any positive diagonal leaves them out.
    gram = gram + damping.clamp(min=1e-12)[:, None, None] * torch.eye(widest, device=gram.device)
    return (torch.linalg.solve(gram, r_nm[:, :, None]).mT @ g_nmD)[:, 0]
