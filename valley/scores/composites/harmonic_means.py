"""Harmonic means of generalisation and specificity: above placebo or not, one language or both, with or without
`same_subject`. The first is the primary composite."""

from __future__ import annotations

from functools import partial

import numpy as np

from valley.scores.composites.composite import IN_LANGUAGE, KEPT, OWN, Composite, Means, harmonic

OTHERS = tuple(kind for kind in KEPT if kind != "same_subject")


def _of(means: Means, net: bool, own: bool, kept: tuple[str, ...]) -> np.ndarray:
    changed = tuple(kind + OWN if kind == "multi_hop" else kind for kind in IN_LANGUAGE)
    stayed = tuple(kind + OWN for kind in kept) if own else kept
    return harmonic(means.mean(changed, net), means.mean(stayed))


def _made(net: bool, own: bool, kept: tuple[str, ...]) -> Composite:
    parts = ["net" if net else "raw", "own" if own else "all", *(["without_same_subject"] if kept == OTHERS else [])]
    words = [
        "above placebo" if net else "not above placebo",
        "specificity in the edit's language" if own else "specificity in all languages",
        "without same_subject" if kept == OTHERS else "with same_subject",
    ]
    plain = "_".join(["harmonic", "raw", *parts[1:]])
    function = partial(_of, net=net, own=own, kept=kept)
    return Composite("_".join(["harmonic", *parts]), ", ".join(words), function, kept, plain if net else "")


COMPOSITES = tuple(_made(net, own, kept) for net in (True, False) for own in (False, True) for kept in (KEPT, OTHERS))
