"""The field's composites, by their papers, and ours of the first study. Without a vote where they fail the sensitivity
test."""

from __future__ import annotations

import numpy as np

from valley.scores.composites.composite import Composite, Means
from valley.statistics import harmonic


def counterfact_s(means: Means) -> np.ndarray:
    """Harmonic mean of ES, PS and NS; NaN where one of them is not measurable."""
    parts = np.stack([means.values[name] for name in ("es", "ps", "ns")])
    mean = 3 / (1 / np.where(parts == 0, 1.0, parts)).sum(axis=0)
    return np.where((parts == 0).any(axis=0) & np.isfinite(mean), 0.0, mean)


def easyedit_mean(means: Means) -> np.ndarray:
    """Mean of reliability, generalisation and locality, all as token accuracies."""
    return np.stack([means.values[name] for name in ("reliability", "rephrase", "locality")]).mean(axis=0)


def _first_parts(means: Means) -> tuple[np.ndarray, np.ndarray]:
    return means.values["first_generalisation"], means.values["first_specificity"]


def _first_parts_net(means: Means) -> tuple[np.ndarray, np.ndarray]:
    return means.net("first_generalisation"), means.values["first_specificity"]


COMPOSITES = (
    Composite(
        "counterfact_s", "CounterFact's S", counterfact_s, kept=("neighbour",), gated=False,
        source="Meng et al. 2022, sec. 3.3",
    ),
    Composite(
        "easyedit_mean", "EasyEdit's three scores, averaged", easyedit_mean, kept=("neighbour",), gated=False,
        source="Wang et al. 2023, section 4",
    ),
    Composite(
        "first_study", "harmonic mean over all kinds, as in the first study",
        lambda means: harmonic(*_first_parts(means)), _first_parts, gated=False,
    ),
    Composite(
        "first_study_net", "harmonic mean over all kinds, above placebo, as in the first study",
        lambda means: harmonic(*_first_parts_net(means)), _first_parts_net, on_dev="first_study", net=True, gated=False,
    ),
)  # fmt: skip
