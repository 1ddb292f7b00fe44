"""Harmonic means of generalisation and specificity: above placebo or not, one language or both, with or without
`same_subject`. The first is the primary composite."""

from __future__ import annotations

from functools import partial

import numpy as np

from valley.scores.composites.composite import KEPT, Composite, Means, gen_and_spec
from valley.statistics import harmonic

OTHERS = tuple(kind for kind in KEPT if kind != "same_subject")


def _of(means: Means, net: bool, own: bool, kept: tuple[str, ...]) -> np.ndarray:
    return harmonic(*gen_and_spec(means, net, own, kept))


def _made(net: bool, own: bool, kept: tuple[str, ...]) -> Composite:
    names = ["net" if net else "raw", "own" if own else "all", *(["without_same_subject"] if kept == OTHERS else [])]
    words = [
        "above placebo" if net else "not above placebo",
        "specificity in the edit's language" if own else "specificity in all languages",
        "without same_subject" if kept == OTHERS else "with same_subject",
    ]
    sides = {"net": net, "own": own, "kept": kept}
    return Composite(
        "_".join(["harmonic", *names]),
        ", ".join(words),
        partial(_of, **sides),
        partial(gen_and_spec, **sides),
        kept,
        on_dev="_".join(["harmonic", "raw", *names[1:]]) if net else "",
        net=net,
    )


COMPOSITES = tuple(_made(net, own, kept) for net in (True, False) for own in (False, True) for kept in (KEPT, OTHERS))
