"""What a composite is made of: means over cases of each probe kind, in the edit's own language and in all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from editing.plugins import BadPlugin
from valley.rows import GATES, IN_LANGUAGE, KEPT

OWN = "_own"  # suffix of a kind's mean over the probes in the language of the edit
# Columns of generalisation; efficacy is a gate, not a part. Negation and verification count where they were evaluated.
CHANGED: tuple[str, ...] = tuple(kind + OWN if kind == "multi_hop" else kind for kind in IN_LANGUAGE)
PUBLISHED = ("es", "ps", "ns", "reliability", "rephrase", "locality")  # CounterFact's and EasyEdit's, per case
ROUNDING = 1e-6  # by which a composite may miss [0, 1]
SPECIFIC_ENOUGH = 0.9  # specificity at which a case's doses are read
DOSES = ("dose_area", "dose_gen_at_spec")  # of the curve that a case's doses draw
FIRST = ("first_generalisation", "first_specificity")  # means over all kinds, as the first study took them
# Columns of the case scores that composites read, beside the probe kinds themselves.
CASE_COLUMNS: tuple[str, ...] = (*(kind + OWN for kind in ("multi_hop", *KEPT)), *PUBLISHED, *DOSES, *FIRST)


@dataclass(frozen=True)
class Means:
    """Means over the cases of one rung, edit kind and setting.

    Attributes:
        values: by probe kind and by CASE_COLUMNS, each (n,): one estimate, or n bootstrap draws. NaN: not evaluated.
        placebo: the same of the placebo edits of the same inner method and setting; empty where none ran.
    """

    values: Mapping[str, np.ndarray]
    placebo: Mapping[str, np.ndarray] = field(default_factory=dict)

    def net(self, kind: str) -> np.ndarray:
        """(A - P) / (1 - P), not below 0; NaN without a placebo, or where it succeeds always."""
        score = self.values[kind]
        if kind not in self.placebo:
            return np.full_like(score, np.nan)
        room = 1 - self.placebo[kind]
        fair = room > 1e-9
        return np.where(fair, np.maximum((score - self.placebo[kind]) / np.where(fair, room, 1.0), 0.0), np.nan)

    def mean(self, kinds: Sequence[str], net: bool = False) -> np.ndarray:
        """Unweighted mean over the evaluated kinds; with `net`, each above placebo. NaN where there is none."""
        parts = np.stack([self.net(kind) if net else self.values[kind] for kind in kinds])
        measured = ~np.isnan(np.stack([self.values[kind] for kind in kinds]))
        total = np.where(measured, parts, 0.0).sum(axis=0)
        return np.where(measured.any(axis=0), total / np.maximum(measured.sum(axis=0), 1), np.nan)


@dataclass(frozen=True)
class Composite:
    """One defensible number.

    Attributes:
        name: as in plans and tables.
        choice: what is chosen, in words: the dimension of the multiverse and the side taken.
        function: Means -> (n,), in [0, 1] or NaN where a part of it is not measurable.
        parts: Means -> generalisation and specificity (n,) each, as curves show them beside the composite.
        kept: the specificity kinds that it is meant to notice.
        on_dev: name of the composite that chooses on development cases, where neither placebos nor other doses are run.
        net: whether it is above placebo, so that it needs placebo edits.
        gated: whether an edit that fails a gate scores 0; the published composites know no gates.
        source: paper, or empty for ours.
    """

    name: str
    choice: str
    function: Callable[[Means], np.ndarray]
    parts: Callable[[Means], tuple[np.ndarray, np.ndarray]] = lambda means: gen_and_spec(means)
    kept: tuple[str, ...] = KEPT
    on_dev: str = ""
    net: bool = False
    gated: bool = True
    source: str = ""

    def __call__(self, means: Means) -> np.ndarray:
        """(n,) of the means.

        Raises:
            BadPlugin: a value outside [0, 1]; intervals are cut there, so that it would pass for 0 or 1.
        """
        made = np.asarray(self.function(means))
        outside = made[np.abs(made - 0.5) > 0.5 + ROUNDING]
        if outside.size:
            raise BadPlugin(f"composite {self.name}: gives {outside.flat[0]:.4g}; keep its function within [0, 1]")
        return made


def gen_and_spec(
    means: Means, net: bool = False, own: bool = False, kept: Sequence[str] = KEPT
) -> tuple[np.ndarray, np.ndarray]:
    """Generalisation over the in-language kinds, efficacy not among them, and specificity over `kept`: (n,) each.

    Args:
        net: each generalisation kind above placebo. own: specificity in the language of the edit only.
    """
    return means.mean(CHANGED, net), means.mean([kind + OWN for kind in kept] if own else kept)


def gate_values(means: Means) -> dict[str, np.ndarray]:
    """Per gate the values (n,): efficacy above placebo where a placebo ran, else as it is; NaN where not evaluated."""
    values = {kind: np.atleast_1d(means.values[kind]) for kind in GATES}
    if "efficacy" in means.placebo:
        above = np.atleast_1d(means.net("efficacy"))
        values["efficacy"] = np.where(np.isnan(above), values["efficacy"], above)
    return values


def fails_gates(means: Means) -> np.ndarray:
    """(n,) bool: some gate is measured and failed."""
    return np.any([values < GATES[kind] for kind, values in gate_values(means).items()], axis=0)


def failed_gates(means: Means, place: int = 0) -> dict[str, float]:
    """The gates that the means at one place (the first) fail, with the value."""
    values = {kind: float(values.flat[place]) for kind, values in gate_values(means).items()}
    return {kind: value for kind, value in values.items() if value < GATES[kind]}
