"""H2: an edit made in one language reaches the other only above some strength: a step describes transfer better than a
smooth rise."""

from __future__ import annotations

import numpy as np

from editing.lazy import pandas as pd
from valley.hypotheses._evidence import LOCATED, Evidence, Finding, Untestable
from valley.statistics import FLOOR

ID = "H2"
STATEMENT = "Transfer of an edit from English to French has a strength threshold, and from French to English"
STATISTIC = "height of the step in cross-lingual transfer, net of the siblings' shift"
TEST = (
    "chi^2 of the best parabola less that of the best upward step, parametric bootstrap under the parabola, "
    "one-sided, within the family of models that has most sizes; every curve (direction, method that writes at a key, "
    "edit kind) must pass; interval from the least to the greatest over the curves"
)
SIDED = True
MARGIN = 0.1
SIZES = 5


def test(evidence: Evidence) -> Finding:
    table = evidence.transfer()
    table = table[table["method"].isin(LOCATED)]
    directions: dict[str, list[Finding]] = {}
    for (lang, *_), part in table.groupby(["edit_lang", "ladder", "edit_kind", "method"]):
        if (several := _one(evidence, part)) is not None:
            directions.setdefault(str(lang), []).append(several)
    if not directions:
        raise Untestable(
            f"no edits by {', '.join(LOCATED)} have cross-lingual and neighbour probes in one language, with "
            f"{evidence.plan.min_known} cases at {SIZES} sizes of different strength"
        )
    findings = [f for several in directions.values() for f in several]
    worst = max(findings, key=lambda f: f.p)
    low, high = min(f.low for f in findings), max(f.high for f in findings)
    note = "; ".join(_in_words(lang, several) for lang, several in directions.items())
    if len(directions) == 1:
        note += "; no other direction has enough cases"
    return Finding(worst.effect, low, high, worst.p, min(f.n for f in findings), "sizes", note)


def _in_words(lang: str, findings: list[Finding]) -> str:
    """One direction in words: its least convincing curve."""
    worst = max(findings, key=lambda f: f.p)
    goal = {"en": "French", "fr": "English"}.get(lang, "another language")
    name = {"en": "English", "fr": "French"}.get(lang, lang or "unstated")
    curves = f"{len(findings)} curves" if len(findings) > 1 else "1 curve"
    return f"{name} to {goal}: {curves}, least convincing step {worst.effect:.3f} (p = {worst.p:.3g})"


def _one(evidence: Evidence, part: pd.DataFrame) -> Finding | None:
    """One curve; None with too few sizes."""
    curve = evidence.axis_points(part, np.stack(part["drawn"].tolist()))
    n = len(curve.x)
    if n < SIZES or np.ptp(curve.x) == 0:
        return None
    variance = np.maximum(curve.variance, FLOOR)
    errors = curve.errors(evidence.plan.draws, [evidence.plan.seed, 2]).of(variance, np.minimum(curve.known, variance))
    smooth, smooth_chi2 = _parabola(curve.x, curve.y[None], variance)
    step, step_chi2, height = _step(curve.y[None], variance)
    under = smooth[0] + errors
    gain = _parabola(curve.x, under, variance)[1] - _step(under, variance)[1]
    p = (1 + int((gain >= smooth_chi2[0] - step_chi2[0]).sum())) / (1 + len(errors))
    low, high = np.quantile(_step(step[0] + errors, variance)[2], [0.025, 0.975])
    return Finding(float(height[0]), float(low), float(high), p, n)


def _parabola(x: np.ndarray, y: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted parabolas through curves (draws, n): means and chi^2. As many parameters as a step has: height, height
    and place."""
    x = (x - x.mean()) / np.ptp(x)
    root = 1 / np.sqrt(variance)
    basis = np.linalg.qr(np.column_stack([np.ones_like(x), x, x * x]) * root[:, None])[0]
    mean = (y * root) @ basis @ basis.T / root
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
