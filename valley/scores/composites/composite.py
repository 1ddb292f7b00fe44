"""What a composite is made of: means over cases of each probe kind, in the edit's own language and in all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

# Generalisation kinds; efficacy is a gate, not a part. Negation and verification count where they were asked.
IN_LANGUAGE = ("paraphrase", "relation", "alias", "multi_hop", "negation", "verification")
KEPT = ("neighbour", "neighbour_plus", "same_subject")  # specificity kinds
OWN = "_own"  # suffix of a kind's mean over the probes in the language of the edit
PUBLISHED = ("es", "ps", "ns", "reliability", "rephrase", "locality")  # CounterFact's and EasyEdit's, per case
SPECIFIC_ENOUGH = 0.9  # specificity at which a case's doses are read
DOSES = ("dose_area", "dose_gen_at_spec")  # of the curve that a case's doses draw
# Columns of the case scores that composites read, beside the probe kinds themselves.
CASE_COLUMNS: tuple[str, ...] = (*(kind + OWN for kind in ("multi_hop", *KEPT)), *PUBLISHED, *DOSES)
# An edit that fails one of these is no edit that a rung makes available: its composites are 0. Efficacy is above
# placebo; drift is exp(-KL in nats), so .5 is .69 nats per token; fluency and ability are shares of the unedited model.
GATES: Mapping[str, float] = {"efficacy": 0.5, "drift": 0.5, "fluency": 0.8, "ability": 0.8}


@dataclass(frozen=True)
class Means:
    """Means over the cases of one rung, edit kind and setting.

    Attributes:
        values: by probe kind and by CASE_COLUMNS, each (n,): one estimate, or n bootstrap draws. NaN: not asked.
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
        """Unweighted mean over the kinds that were asked; with `net`, each above placebo. NaN where none was asked."""
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
        kept: the specificity kinds that it is meant to notice.
        on_dev: name of the composite by which methods are chosen on development cases, where placebos are not run.
        source: paper, or empty for ours.
    """

    name: str
    choice: str
    function: Callable[[Means], np.ndarray]
    kept: tuple[str, ...] = KEPT
    on_dev: str = ""
    source: str = ""

    def __call__(self, means: Means) -> np.ndarray:
        return self.function(means)


def harmonic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """2ab / (a + b); 0 where both are 0; NaN where one is."""
    total = a + b
    return np.where(total == 0, 0.0, 2 * a * b / np.where(total == 0, 1.0, total))


def failed_gates(means: Means) -> dict[str, float]:
    """The gates that these means fail, with the value: efficacy above placebo where one ran, else as it is."""
    values = {kind: float(np.ravel(means.values[kind])[0]) for kind in GATES}
    if "efficacy" in means.placebo:
        above = float(np.ravel(means.net("efficacy"))[0])
        values["efficacy"] = above if above == above else values["efficacy"]
    return {kind: value for kind, value in values.items() if value < GATES[kind]}
