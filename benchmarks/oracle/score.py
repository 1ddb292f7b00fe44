"""The oracle score of one edit: how much of the way from the unedited model to the retrained one it went.

    score = [d(base, oracle) - d(edited, oracle)] / [d(base, oracle) - floor]

d is the mean Jensen-Shannon divergence over a set of probes; `oracle` is the model trained on the edited world; the
floor is d(oracle, second oracle), two trainings that differ in their seed. 0: no better than no edit. 1: as good as
training. Below 0: further from the retrained model than the unedited one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np

from benchmarks.cases import Case
from benchmarks.oracle.distance import MOST, jensen_shannon

NOISY = 0.5  # a floor beyond this share of d(base, oracle) leaves nothing to measure against
Answers = Sequence[np.ndarray | None]  # per probe, (m,) P(candidate)


@dataclass(frozen=True)
class Distances:
    """Mean divergences to the oracle, in nats, over `probes` probes. NaN where there are none."""

    base: float
    edited: float
    floor: float
    probes: int


def score(distances: Distances) -> tuple[float, str]:
    """The oracle score, and why it is NaN where it is not measurable."""
    if distances.probes == 0:
        return nan, "no such probes"
    if isnan(distances.base + distances.edited + distances.floor):
        return nan, "a model gives no numbers"
    if not distances.base > 0 or distances.floor > NOISY * distances.base:
        return nan, f"two retrained models differ by more than {NOISY:.0%} of what retraining changed"
    return (distances.base - distances.edited) / (distances.base - distances.floor), ""


def harm(distances: Distances) -> float:
    """Of probes that retraining leaves alone, the share of the possible harm that the edit did not do; 1 is none."""
    if distances.probes == 0 or isnan(distances.edited):
        return nan
    return 1 - max(0.0, distances.edited - distances.base) / (MOST - distances.base)


def scores_of_case(case: Case, base: Answers, edited: Answers, oracle: Answers, second: Answers) -> dict[str, object]:
    """The columns of one edit: its score over all probes, over those that retraining moves, over those it leaves.

    A probe is *moved* where both retrained models prefer one and the same other candidate than the base does, *kept*
    where both prefer the base's. Probes on which they disagree count only among all.
    """
    tops = [[None if a is None else int(np.argmax(a)) for a in answers] for answers in (base, oracle, second)]
    measured = [at for at, answer in enumerate(base) if answer is not None]
    agreed = [at for at in measured if tops[1][at] == tops[2][at]]
    moved = [at for at in agreed if tops[1][at] != tops[0][at]]
    kept = [at for at in agreed if tops[1][at] == tops[0][at]]

    def over(places: Sequence[int]) -> Distances:
        if not places:
            return Distances(nan, nan, nan, 0)
        pairs = ((base, oracle), (edited, oracle), (second, oracle))
        means = [np.mean([_apart(one[at], other[at]) for at in places]) for one, other in pairs]
        return Distances(*map(float, means), probes=len(places))

    every, of_moved, of_kept = over(measured), over(moved), over(kept)
    value, reason = score(every)
    moved_value, moved_reason = score(of_moved)
    own, other = _news(case, own=True), _news(case, own=False)
    return {
        "score": value,
        "reason": reason,
        "score_moved": moved_value,
        "reason_moved": moved_reason,
        "kept": harm(of_kept),
        "d_base": every.base,
        "d_edited": every.edited,
        "floor": every.floor,
        "d_base_kept": of_kept.base,
        "d_edited_kept": of_kept.edited,
        "probes": every.probes,
        "probes_moved": of_moved.probes,
        "probes_kept": of_kept.probes,
        "news_edited": _says(case, own, edited),
        "news_oracle": _says(case, own, oracle),
        "news_other_language_edited": _says(case, other, edited),
        "news_other_language_oracle": _says(case, other, oracle),
    }


def _apart(p: np.ndarray | None, q: np.ndarray | None) -> float:
    assert p is not None and q is not None  # only probes with candidates are compared
    return jensen_shannon(p, q)


def _news(case: Case, own: bool) -> list[int]:
    """The probes whose answer the edit changes, in the edit's own language or in the others."""
    return [
        at
        for at, p in enumerate(case.probes)
        if p.candidates and p.generalises and p.old != p.answer and (p.lang == case.request.lang) == own
    ]


def _says(case: Case, places: Sequence[int], answers: Answers) -> float:
    """Mean P(new answer) over some probes; NaN without any."""
    shares = [answer[case.probes[at].answer] for at in places if (answer := answers[at]) is not None]
    return float(np.mean(shares)) if shares else nan
