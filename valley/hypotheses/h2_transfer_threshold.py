"""H2: an English edit reaches French only above some strength: a step describes transfer better than a steady rise does."""

from __future__ import annotations

import numpy as np

from valley.hypotheses._evidence import Evidence, Finding, Untestable
from valley.kinds import NET
from valley.shapes.prominence import FLOOR, noise

ID = "H2"
STATEMENT = "Transfer of an edit from English to French has a strength threshold"
STATISTIC = "height of the step in cross-lingual transfer, net of the siblings' shift"
TEST = "chi^2 of the best line less that of the best upward step, parametric bootstrap under the line, one-sided; every method must pass"
SIDED = True
MARGIN = 0.1


def test(evidence: Evidence) -> Finding:
    table = evidence.curves(NET)
    findings = [f for _, part in table.groupby(["edit_kind", "method"]) if (f := _one(evidence, part)) is not None]
    if not findings:
        raise Untestable(
            "no edit kind has cross-lingual and neighbour probes in one language at 5 sizes of different strength"
        )
    # Every curve has to show the step, so the least convincing one decides.
    worst = max(findings, key=lambda f: f.p)
    note = f"{len(findings)} curves; edits are made in English, so transfer from French is not tested"
    return Finding(worst.effect, worst.low, worst.high, worst.p, worst.n, "sizes", note)


def _one(evidence: Evidence, part) -> Finding | None:
    curve = evidence.axis_points(part)
    n = len(curve.x)
    if n < 5 or np.ptp(curve.x) == 0:
        return None
    variance = np.maximum(curve.variance, FLOOR)
    errors = noise(n, evidence.plan.draws, [evidence.plan.seed, 2], curve.df) * np.sqrt(variance)
    line, line_chi2 = _line(curve.x, curve.y[None], variance)
    step, step_chi2, height = _step(curve.y[None], variance)
    under_line = line[0] + errors
    gain = _line(curve.x, under_line, variance)[1] - _step(under_line, variance)[1]
    p = (1 + int((gain >= line_chi2[0] - step_chi2[0]).sum())) / (1 + len(errors))
    spread = _step(step[0] + errors, variance)[2]
    low, high = np.quantile(spread, [0.025, 0.975])
    return Finding(float(height[0]), float(low), float(high), p, n)


def _line(x: np.ndarray, y: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted straight lines through curves (draws, n): means and chi^2."""
    basis = np.column_stack([np.ones_like(x), x - x.mean()])
    weighted = basis / variance[:, None]
    mean = y @ weighted @ np.linalg.inv(basis.T @ weighted) @ basis.T
    return mean, ((y - mean) ** 2 / variance).sum(axis=-1)


def _step(y: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best two plateaus, the right one not lower, of curves (draws, n): means, chi^2, height."""
    w, n = 1 / variance, y.shape[1]
    mean = np.repeat((y @ w / w.sum())[:, None], n, axis=1)
    chi2, height = ((y - mean) ** 2 * w).sum(axis=-1), np.zeros(len(y))
    for cut in range(1, n):
        left = y[:, :cut] @ w[:cut] / w[:cut].sum()
        rise = y[:, cut:] @ w[cut:] / w[cut:].sum() - left
        trial = left[:, None] + np.where(np.arange(n) < cut, 0, rise[:, None])
        cost = ((y - trial) ** 2 * w).sum(axis=-1)
        better = (cost < chi2) & (rise > 0)
        mean, chi2, height = (
            np.where(better[:, None], trial, mean),
            np.where(better, cost, chi2),
            np.where(better, rise, height),
        )
    return mean, chi2, height
