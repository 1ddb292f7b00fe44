"""One verdict out of many: what the composites of a score say together.

There is no single right composite of generalisation and specificity, so the rules judge every defensible one, and a
shape is named only where nearly all of them name it (Steegen et al. 2016, "Increasing transparency through a multiverse
analysis"; Simonsohn et al. 2020, "Specification curve analysis").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from valley.verdicts.verdict import INCONCLUSIVE, NO_VALLEY, Verdict

SHARE = 0.8  # of the composites that could be judged: those that have to name a shape


@dataclass(frozen=True)
class Multiverse:
    """What the composites say together of one edit kind of one ladder.

    Attributes:
        verdict: the combined verdict; `agreeing` is empty, as it belongs to single composites.
        outcomes: outcome by composite, of those that could be judged. unmeasured: names of those that could not.
        share: of the judged composites, those with the most frequent outcome other than INCONCLUSIVE (0 without any).
    """

    verdict: Verdict
    outcomes: dict[str, str]
    unmeasured: tuple[str, ...]
    share: float


def combine(verdicts: Mapping[str, Verdict | None], share: float = SHARE) -> Multiverse:
    """The verdict that at least `share` of the judged composites give, or INCONCLUSIVE.

    An inconclusive composite counts against every outcome. Of "no valley deeper than d" d is the greatest bound among
    the composites that say so.

    Args:
        verdicts: by composite; None where it could not be measured at all: such composites do not vote and are named.
    """
    judged = {name: v for name, v in verdicts.items() if v is not None}
    outcomes = {name: v.outcome for name, v in judged.items()}
    unmeasured = tuple(name for name, v in verdicts.items() if v is None)
    bound, detectable = (_greatest([getattr(v, what) for v in judged.values()]) for what in ("bound", "detectable"))
    counts = Counter(outcome for outcome in outcomes.values() if outcome != INCONCLUSIVE)
    if not counts:
        what = "no composite gives a verdict" if judged else "no composite could be measured"
        text = f"inconclusive: {what}{_count(0, outcomes)}"
        return Multiverse(Verdict(INCONCLUSIVE, text, bound, detectable), outcomes, unmeasured, 0.0)
    outcome, votes = max(counts.items(), key=lambda item: (item[1], item[0]))
    part = votes / len(judged)
    if part < share:
        said = ", ".join(f"{name} by {n}" for name, n in counts.most_common())
        text = f"inconclusive: it depends on the composite ({said}, of {len(judged)}; {share:.0%} have to agree)"
        return Multiverse(Verdict(INCONCLUSIVE, text, bound, detectable), outcomes, unmeasured, part)
    if outcome == NO_VALLEY:
        bound = _greatest([v.bound for v in judged.values() if v.outcome == NO_VALLEY])
        text = f"no valley deeper than {bound:.3f}{_count(votes, outcomes)}"
    else:
        text = f"{outcome}{_count(votes, outcomes)}"
    return Multiverse(Verdict(outcome, text, bound, detectable), outcomes, unmeasured, part)


def _count(votes: int, outcomes: Mapping[str, str]) -> str:
    return f" ({votes} of {len(outcomes)} composites)" if outcomes else ""


def _greatest(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return max(known) if known else float("nan")
