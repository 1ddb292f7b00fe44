"""The verdict on a curve's shape, by rules that leave nothing to choose after the fact.

* A named shape needs p < level AND weight > .8 on two strength axes and with two methods, and no other shape may have
the same.
* "No valley deeper than d" needs the null-corrected upper bound d on as many axes and with as many methods.
* Anything else is inconclusive, and says the smallest valley that would have been seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from valley.scores import AnalysisPlan
from valley.verdicts.judge import NAMED

INCONCLUSIVE, NO_VALLEY = "inconclusive", "no valley"


@dataclass(frozen=True)
class Verdict:
    """`outcome` is a shape's name, NO_VALLEY or INCONCLUSIVE.

    Attributes:
        text: the verdict in a sentence.
        bound: the greatest upper bound of a valley's depth over axes and methods. detectable: the smallest depth that
            every axis and method would have shown 80% of the time. NaN where undefined.
        agreeing: the (method, axis) pairs behind a named shape.
    """

    outcome: str
    text: str
    bound: float
    detectable: float
    agreeing: tuple[tuple[str, str], ...] = ()


def passing(tests: pd.DataFrame, shape: str, plan: AnalysisPlan) -> tuple[tuple[str, str], ...]:
    """The (method, axis) pairs on which `shape` has p < level and weight > plan.weight, its variances being known."""
    good = (tests[f"p_{shape}"] < plan.level) & (tests[f"weight_{shape}"] > plan.weight) & (tests["df"] > 0)
    return tuple(tests.loc[good, ["method", "axis"]].itertuples(index=False, name=None))


def agreement(pairs: tuple[tuple[str, str], ...], needed: int) -> tuple[tuple[str, str], ...]:
    """The largest block of methods x axes within `pairs` with at least `needed` of each; empty if there is none."""
    methods = sorted({method for method, _ in pairs})
    axes = {m: {axis for method, axis in pairs if method == m} for m in methods}

    def blocks() -> Iterator[tuple[tuple[str, str], ...]]:
        for size in range(needed, len(methods) + 1):
            for chosen in combinations(methods, size):
                common = sorted(set.intersection(*(axes[m] for m in chosen)))
                if len(common) >= needed:
                    yield tuple((m, axis) for m in chosen for axis in common)

    return max(blocks(), key=len, default=())


def verdict(tests: pd.DataFrame, plan: AnalysisPlan) -> Verdict:
    """Judge one edit kind of one ladder.

    Args:
        tests: one line per method and strength axis: method, axis and the columns of `judge`.
    """
    known = tests[tests["df"] > 0]
    bound = _worst(known["bound"])
    detectable = _worst((known if len(known) else tests)["detectable"])
    shown = {shape: block for shape in NAMED if (block := agreement(passing(tests, shape, plan), plan.agreeing))}
    if len(shown) == 1:
        ((shape, block),) = shown.items()
        methods, axes = (" and ".join(sorted({pair[i] for pair in block})) for i in (0, 1))
        text = f"{shape}: p < {plan.level:g} and weight > {plan.weight:g} with {methods} on {axes}"
        return Verdict(shape, text, bound, detectable, block)
    usable = tuple(known.dropna(subset=["bound"])[["method", "axis"]].itertuples(index=False, name=None))
    if not shown and agreement(usable, plan.agreeing) and bound <= plan.depth:
        return Verdict(NO_VALLEY, f"no valley deeper than {bound:.3f}", bound, detectable)
    why = _why_not(tests, known, shown, usable, plan)
    seen = f"; the smallest valley that this run would show 80% of the time is {_depth(detectable, known)}"
    return Verdict(INCONCLUSIVE, f"inconclusive: {why}{seen}", bound, detectable)


def _depth(detectable: float, known: pd.DataFrame) -> str:
    if np.isnan(detectable):
        return "of unknown depth"
    return f"{detectable:.3f} deep" if len(known) else f"more than {detectable:.3f} deep"


def _worst(column: pd.Series) -> float:
    return float(column.max()) if len(column) and column.notna().all() else np.nan


def _why_not(tests: pd.DataFrame, known: pd.DataFrame, shown: dict, usable: tuple, plan: AnalysisPlan) -> str:
    if shown:
        return f"{' and '.join(shown)} are both shown, by different methods or axes"
    if tests.empty or (tests["n_sizes"] < 3).all():
        return "fewer than 3 sizes of model could be scored"
    if known.empty:
        return "tau^2 between training seeds is unknown, as no size has two seeds"
    methods, axes = (len({pair[i] for pair in usable}) for i in (0, 1))
    if methods < plan.agreeing or axes < plan.agreeing:
        return f"methods with known variances: {methods}, strength axes: {axes}; {plan.agreeing} of each are needed"
    if known["weight_valley"].isna().all():
        return f"{int(known['n_sizes'].max())} sizes are too few for the weights of the families"
    need = f"{plan.agreeing} axes with {plan.agreeing} methods"
    return f"no shape has p < {plan.level:g} and weight > {plan.weight:g} on {need}"
