"""The verdict on a curve's shape, by rules that leave nothing to choose after the fact.

The primary test is of the curve of the best method: at each rung the method that does best on development cases. The
curves of single methods are support.

* Strength axes: the first of the plan that a family's sizes differ on is the primary one. Another counts where it
  orders the sizes alike: Kendall's tau with the primary axis of at least CONCORDANT.
* A named shape needs, with the curve of the best method, p < level (Holm over the curves of a run) and weight > .8 on
  the primary and on one more counted axis; and p < level on the primary axis that two witnesses have it (partial
  conjunction). A witness is a method; methods that searched the same incomplete grid of layers are one. No other shape
  may have the same.
* "No valley deeper than d" needs the null-corrected upper bound d of the best method's curve, on every counted axis,
  and of two methods.
* Families of models (grown, pretrained) are judged apart: a difference of level between them is no shape.
* Anything else is inconclusive, and says the smallest valley that the curve of the best method would have shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from editing.lazy import pandas as pd
from valley.scores import AnalysisPlan
from valley.verdicts.judge import NAMED

INCONCLUSIVE, NO_VALLEY = "inconclusive", "no valley"
BEST = "best method"  # the curve that takes at each rung the method that does best on development cases
CONCORDANT = 0.5  # Kendall's tau with the primary axis from which another axis counts


@dataclass(frozen=True)
class Verdict:
    """`outcome` is a shape's name, NO_VALLEY or INCONCLUSIVE.

    Attributes:
        text: the verdict in a sentence.
        bound: no valley of the best method's curve is deeper. detectable: the smallest depth that it would have shown
            80% of the time. NaN where undefined.
        agreeing: the (method, axis) pairs behind a named shape.
    """

    outcome: str
    text: str
    bound: float
    detectable: float
    agreeing: tuple[tuple[str, str], ...] = ()


def verdict(tests: pd.DataFrame, plan: AnalysisPlan) -> Verdict:
    """Judge one edit kind of one ladder.

    Args:
        tests: one line per family, method (BEST too) and strength axis, the primary axis first: family, method, axis,
            counted, grid, the columns of `judge` and `holm_SHAPE`, the corrected p of the best method's curves.
    """
    parts = {str(family): _of_family(part, plan) for family, part in tests.groupby("family", sort=False)}
    if not parts:
        return Verdict(INCONCLUSIVE, "inconclusive: fewer than 3 sizes of model could be scored", np.nan, np.nan)
    if len(parts) == 1:
        return next(iter(parts.values()))
    text = "; ".join(f"{family} models: {v.text}" for family, v in parts.items())
    named = {v.outcome: v for v in parts.values() if v.outcome != INCONCLUSIVE}
    if len(named) == 1:
        (one,) = named.values()
        return Verdict(one.outcome, text, one.bound, one.detectable, one.agreeing)
    largest = parts[str(tests["family"].iloc[int(tests["n_models"].to_numpy().argmax())])]
    why = "the families differ: " if named else ""
    return Verdict(INCONCLUSIVE, f"{why}{text}", largest.bound, largest.detectable)


def _of_family(tests: pd.DataFrame, plan: AnalysisPlan) -> Verdict:
    lines = tests[tests["counted"]]
    best = lines[lines["method"] == BEST].to_dict("records")
    methods = lines[(lines["method"] != BEST) & (lines["axis"] == (best[0]["axis"] if best else ""))].to_dict("records")
    shown = {shape: pairs for shape in NAMED if (pairs := _shows(shape, best, methods, plan))}
    detectable = float(np.max([line["detectable"] for line in best])) if best else np.nan
    bound = float(np.max([line["bound"] for line in best])) if best else np.nan
    if len(shown) == 1:
        ((shape, pairs),) = shown.items()
        axes = " and ".join(axis for method, axis in pairs if method == BEST)
        support = " and ".join(method for method, _ in pairs if method != BEST)
        with_best = f"p < {plan.level:g} and weight > {plan.weight:g} with the best method on {axes}"
        text = f"{shape}: {with_best}; p < {plan.level:g} with {support}"
        return Verdict(shape, text, bound, detectable, pairs)
    if not shown and len(best) >= plan.agreeing:
        deepest = _bound(bound, methods, plan.agreeing)
        if deepest <= plan.depth:
            return Verdict(NO_VALLEY, f"no valley deeper than {deepest:.3f}", deepest, detectable)
    known = bool(best) and best[0]["df"] > 0
    smallest = f"; the smallest valley that this run would show 80% of the time is {_depth(detectable, known)}"
    return Verdict(INCONCLUSIVE, f"inconclusive: {_why_not(shown, best, methods, plan)}{smallest}", bound, detectable)


def _shows(shape: str, best: list[dict], methods: list[dict], plan: AnalysisPlan) -> tuple[tuple[str, str], ...]:
    """The (method, axis) pairs behind a shape that the rules name; empty where they do not."""
    passed = [line for line in best if line["df"] > 0 and line[f"holm_{shape}"] < plan.level
              and line[f"weight_{shape}"] > plan.weight]  # fmt: skip
    if not passed or passed[0] is not best[0] or len(passed) < plan.agreeing:
        return ()
    if support_p(methods, shape, plan.agreeing) >= plan.level:
        return ()
    support = [line for line in methods if line["df"] > 0 and line[f"p_{shape}"] < plan.level]
    return tuple((line["method"], line["axis"]) for line in (*passed, *support))


def witnesses(lines: list[dict]) -> dict[str, list[dict]]:
    """Methods by what they depend on: those of one incomplete grid of layers share what the grid makes."""
    out: dict[str, list[dict]] = {}
    for line in lines:
        out.setdefault(str(line["grid"] or line["method"]), []).append(line)
    return out


def support_p(methods: list[dict], shape: str, needed: int) -> float:
    """p of "fewer than `needed` of the witnesses have the shape", so that many methods are not many chances.

    Bonferroni's partial conjunction: (K - needed + 1) times the p of rank `needed` among K witnesses (Benjamini and
    Heller 2008, "Screening for partial conjunction hypotheses"). A witness of several methods has their least p times
    their number. A method without a p (NaN) is no witness. 1 where there are fewer witnesses.
    """
    measured = [line for line in methods if line["df"] > 0 and not np.isnan(line[f"p_{shape}"])]
    groups = witnesses(measured).values()
    p = sorted(min(1.0, min(line[f"p_{shape}"] for line in group) * len(group)) for group in groups)
    return min(1.0, (len(p) - needed + 1) * p[needed - 1]) if len(p) >= needed else 1.0


def _bound(best: float, methods: list[dict], needed: int) -> float:
    """The depth that the best method's curve and `needed` methods stay below; NaN where there are fewer."""
    bounds = sorted(line["bound"] for line in methods if not np.isnan(line["bound"]))
    return max(best, bounds[needed - 1]) if len(bounds) >= needed and not np.isnan(best) else np.nan


def _depth(detectable: float, known: bool) -> str:
    if np.isnan(detectable):
        return "of unknown depth"
    return f"{detectable:.3f} deep" if known else f"more than {detectable:.3f} deep"


def _why_not(shown: Mapping[str, tuple], best: list[dict], methods: list[dict], plan: AnalysisPlan) -> str:
    if shown:
        return f"{' and '.join(shown)} are both shown"
    if not best or best[0]["n_sizes"] < 3:
        return "fewer than 3 sizes of model could be scored"
    if best[0]["df"] == 0:
        return "tau^2 between training seeds is unknown, as no size has two seeds"
    if len(best) < plan.agreeing:
        return f"strength axes that order the sizes alike: {len(best)}; {plan.agreeing} are needed"
    if len(methods) < plan.agreeing:
        return f"methods: {len(methods)}; {plan.agreeing} are needed"
    if np.isnan(best[0]["weight_valley"]):
        return f"{best[0]['n_sizes']} sizes are too few for the weights of the families"
    if len(witnesses(methods)) < plan.agreeing:
        return "all methods tried the same incomplete grid of layers, which can make a shape by itself"
    return (
        f"no shape has p < {plan.level:g} and weight > {plan.weight:g} with the best method on {plan.agreeing} axes "
        f"and p < {plan.level:g} with {plan.agreeing} independent methods"
    )
