"""Two ways to find v*: Adam, as the papers do it, and Gauss-Newton, which needs about a third of the passes.

Both work on many requests at once; each request stops by itself.

Gauss-Newton uses what a batched pass gives at no cost: the gradient g_i of every context's own negative log-likelihood
l_i, not only that of their mean. What is nearly linear in delta is not l_i, which levels out towards zero, but the
log-odds o_i of p_i = exp(-l_i), because a delta moves logits. A step is the smallest change that would bring every o_i
to those of an aim a if they were linear,

    d = G^T (G G^T + mu tr(G G^T)/m I)^-1 (o(a) - o),  rows of G: -g_i / (1 - p_i),

(the essence prompt's KL is one more row that is to become zero), cut to a trust radius of ||v0||. This is a damped
Gauss-Newton step (Levenberg 1944, Marquardt 1963) for these residuals, in its dual form because there are far fewer
contexts than dimensions. The smallest change that does it makes weight decay unnecessary.

With several places, lengths are in ||v0|| of each place: otherwise the place with the steepest gradient carries nearly
everything, however short its outputs are (Adam's rate is in the same unit). Where only the first of them are written
(PMET), a request that has reached its target by all places, or has used half of its passes, goes on with those that
are written; `stop_loss` is compared with what they do alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from editing.lazy import torch
from editing.model import LanguageModel
from editing.solve.objective import Problem, Step
from editing.solve.settings import Injection, Value, ValueSettings
from editing.text import Contexts

DAMPING = 0.3  # mu
AIM, LEAST_AIM = 1 / 3, 1e-4  # a, as a share of stop_loss, and its least value in nats
RADIUS = 1.0  # largest step, in ||v0||
ROME_KL = 0.0625  # at this weight of the KL term the essence prompt counts as much as a context


def solve(
    lm: LanguageModel,
    chunk: Sequence[Contexts],
    where: tuple[Injection, ...],
    settings: ValueSettings,
    seed: int,
    written: int,
) -> list[Value]:
    """v* of every request of one chunk by `settings.optimiser`; see `optimise_values`."""
    problem = Problem(lm, chunk, where, settings, seed)
    return adam(problem) if settings.optimiser == "adam" else gauss_newton(problem, written)


def adam(problem: Problem) -> list[Value]:
    """ROME's compute_v and MEMIT's compute_z: Adam on the mean loss of the contexts + KL + weight decay, which is also
    what `stop_loss` is compared with."""
    settings, n = problem.settings, problem.n
    delta = torch.zeros_like(problem.v0)
    moment, square = torch.zeros_like(delta), torch.zeros_like(delta)
    loss_now, steps = np.full(n, np.nan, dtype=np.float32), np.zeros(n, dtype=np.int64)
    active = np.ones(n, dtype=bool)
    for number in range(settings.steps):
        step = problem.step(active)
        delta.requires_grad_(True)
        with torch.enable_grad():
            by_row = delta[step.owner]
            likelihood, loss = _papers_loss(problem, delta, by_row, step)
        read, whole = torch.stack([likelihood, loss]).detach().cpu().numpy()
        problem.refuse_not_finite(whole, active, number)
        loss_now = np.where(active, read, loss_now)
        steps[active] = number + 1
        active &= whole >= settings.stop_loss
        if number == settings.steps - 1 or not active.any():
            break
        gradient, row_gradient = torch.autograd.grad(loss.sum(), (delta, by_row))
        if number == 0:
            problem.refuse_unreachable(row_gradient, active, step)
        with torch.no_grad():
            moving = torch.from_numpy(active.copy()).to(delta.device)[:, None]
            moment = torch.where(moving, 0.9 * moment + 0.1 * gradient, moment)
            square = torch.where(moving, 0.999 * square + 0.001 * gradient**2, square)
            update = (moment / (1 - 0.9 ** (number + 1))) / ((square / (1 - 0.999 ** (number + 1))).sqrt() + 1e-8)
            delta = problem.clamped(torch.where(moving, delta - problem.rate * update, delta))
    return problem.values(delta, loss_now, steps)


def _papers_loss(
    problem: Problem, delta: torch.Tensor, by_row: torch.Tensor, step: Step
) -> tuple[torch.Tensor, torch.Tensor]:
    """(n,) the negative log-likelihood, and with the KL term and weight decay, of delta (n, size) and of the same for
    every row; requests without rows get their weight decay only."""
    settings, owner = problem.settings, step.owner
    losses = problem.row_losses(by_row, step)
    likelihood = problem.mean_over_contexts(losses, step)
    divergence = torch.zeros_like(likelihood).index_add(0, owner[step.essence], losses[step.essence])
    loss = likelihood + settings.kl * divergence
    # Gradient of the norm at zero is taken as zero, as torch.norm does.
    for i, part in enumerate(problem.parts):
        loss = loss + settings.weight_decay * delta[:, part].norm(dim=1) / problem.decay_unit[:, i]
    return likelihood, loss


def gauss_newton(problem: Problem, written: int) -> list[Value]:
    """Damped least-norm steps on the contexts' own log-odds; see the head of this file.

    Args:
        written: how many of the places, from the first on, the edit writes.
    """
    settings, n = problem.settings, problem.n
    delta = torch.zeros_like(problem.v0)
    unit = problem.units()
    stays = torch.zeros_like(delta)
    stays[:, : problem.parts[written - 1].stop] = 1
    alone = np.full(n, written == len(problem.parts))
    loss_now, steps = np.full(n, np.nan, dtype=np.float32), np.zeros(n, dtype=np.int64)
    active = np.ones(n, dtype=bool)
    weight = (settings.kl / ROME_KL) ** 0.5  # least squares squares it
    for number in range(settings.steps):
        step = problem.step(active)
        each = delta[step.owner].requires_grad_(True)
        with torch.enable_grad():
            losses = problem.row_losses(each, step)
        read = problem.mean_over_contexts(losses.detach(), step).cpu().numpy()
        problem.refuse_not_finite(read, active, number)
        loss_now = np.where(active, read, loss_now)
        steps[active] = number + 1
        reached = loss_now < settings.stop_loss
        active &= ~(reached & alone)
        if number == settings.steps - 1 or not active.any():
            break
        (gradient,) = torch.autograd.grad(losses.sum(), each)
        if number == 0:
            problem.refuse_unreachable(gradient, active, step)
        with torch.no_grad():
            nats = losses.detach().clamp(min=0)
            missing, slope = _missing_odds(nats, max(AIM * settings.stop_loss, LEAST_AIM))
            factor = torch.where(step.is_context, slope, weight)
            residual = torch.where(step.is_context, missing, weight * nats)
            slopes = factor[:, None] * gradient.float() * unit[step.owner]
            change = unit * _least_norm(slopes, residual, step.host_owner, n)
            for i, part in enumerate(problem.parts):
                longest = RADIUS * problem.scale[:, i : i + 1]
                change[:, part] *= (longest / change[:, part].norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
            moving = torch.from_numpy(active.copy()).to(delta.device)[:, None]
            delta = problem.clamped(torch.where(moving, delta - change, delta))
            turning = active & ~alone & (reached | (number + 1 >= settings.steps // 2))
            if turning.any():
                alone |= turning
                kept = torch.where(torch.from_numpy(turning).to(delta.device)[:, None], stays, 1.0)
                delta, unit = delta * kept, unit * kept
    return problem.values(delta, loss_now, steps)


def _missing_odds(nats: torch.Tensor, aim: float) -> tuple[torch.Tensor, torch.Tensor]:
    """By how much the log-odds of exp(-nats) are below those of exp(-aim), 0 where they are above; and their slope by
    nats, with the opposite sign."""
    lost = -torch.expm1(-nats.clamp(min=1e-6))
    target = -aim - math.log(-math.expm1(-aim))
    return (target + nats + lost.log()).clamp(min=0), 1 / lost


def _least_norm(gradient_RD: torch.Tensor, residual_R: torch.Tensor, owner_R: np.ndarray, n: int) -> torch.Tensor:
    """(n, D): per owner the damped least-norm solution d of gradient d = residual, all owners in one batched solve."""
    rows = np.argsort(owner_R, kind="stable")
    count = np.bincount(owner_R, minlength=n)
    columns = np.arange(len(rows)) - (count.cumsum() - count)[owner_R[rows]]
    order, owner, place = torch.from_numpy(np.stack([rows, owner_R[rows], columns])).to(gradient_RD.device)
    widest = int(count.max())
    g_nmD = gradient_RD.new_zeros(n, widest, gradient_RD.shape[1])
    r_nm = residual_R.new_zeros(n, widest)
    g_nmD[owner, place], r_nm[owner, place] = gradient_RD[order], residual_R[order]
    gram = g_nmD @ g_nmD.mT
    contexts = torch.from_numpy(count.clip(min=1)).to(gradient_RD.device)
    damping = DAMPING * gram.diagonal(dim1=1, dim2=2).sum(1) / contexts
    # Padded rows have zero gradient and residual: any positive diagonal leaves them out.
    gram = gram + damping.clamp(min=1e-12)[:, None, None] * torch.eye(widest, device=gram.device)
    solution, _ = torch.linalg.solve_ex(gram, r_nm[:, :, None])  # positive definite: nothing to check, no wait
    return (solution.mT @ g_nmD)[:, 0]
