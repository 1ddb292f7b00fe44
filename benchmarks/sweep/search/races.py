"""A race: the settings of one method on one kind of edit, halved on development cases until few are left.

Successive halving (Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
section 3). Better is a higher score (`search_points.py`), ties by order; a
setting that fails on every case is out. Batches of cases are disjoint, so nothing is measured twice.

The rules (`benchmarks/sweep/planning/plan.py`):

2   All settings are measured on batches that end at the 12th, 24th, 48th ... development case of each data set, however
    many settings there are. The better half stays when at least 12 known cases are measured, again at 24 known, 48 ...;
    where the model knows few, batches are added first. The three best go to the test cases when all cases are measured.
3   As 2, by the score of `valley` (without placebo); 1 and 2 rank by the harmonic mean over all kinds of probes.
1   Of runs from before rules were recorded: first batch of 4 cases, known or not, doubled as often as the settings can
    be halved; one setting goes to the test cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, log2

from benchmarks.sweep.cell import Task
from benchmarks.sweep.planning.plan import FIRST_RULE
from benchmarks.sweep.search.place import Place
from benchmarks.sweep.search.search_points import Point, front, ranked

# Rule 1: fewer cases than this tell nothing.
FEWEST = 4
# Rule 2: known development cases of the first ranking, and settings that meet the test cases.
FIRST_KNOWN, FINALISTS = 12, 3

Read = Callable[[Sequence[Task]], Point]


def rounds(n_settings: int) -> int:
    """How often `n_settings` are halved until one is left; at least once, so that methods can be compared on dev."""
    return max(1, ceil(log2(n_settings)))


def slices(n_cases: int, n_rounds: int) -> list[slice]:
    """The dev cases of each round by rule 1: after round r of R, `n_cases` / 2^(R - 1 - r) are measured, at least
    FEWEST; all at last."""
    ends = [max(min(FEWEST, n_cases), ceil(n_cases / 2 ** (n_rounds - 1 - r))) for r in range(n_rounds)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def doubling(n_cases: int) -> list[slice]:
    """Batches that end at FIRST_KNOWN, twice that, four times that, ...; all `n_cases` at last."""
    ends = [0]
    while ends[-1] < n_cases:
        ends.append(min(n_cases, max(FIRST_KNOWN, 2 * ends[-1])))
    return [slice(start, end) for start, end in pairwise(ends)]


@dataclass
class Race:
    """One method on one kind of edit: its settings still in the running; the best comes first when it is over.

    Attributes:
        finalists: how many settings are left at the end (rule 2).
        batch: number of batches that are measured.
        goal: known cases that must be measured before the next halving (rule 2).
        best: what the best setting reaches on the development cases.
    """

    place: Place
    kind: str
    method: str
    settings: list[dict]
    finalists: int = FINALISTS
    batch: int = 0
    goal: int = FIRST_KNOWN
    best: Point = field(default_factory=Point)

    def __post_init__(self) -> None:
        self.cuts = {pool: self._cuts(self.place.pools[pool].bounds("dev")) for pool in self.place.of(self.kind)}
        self.last = max(map(len, self.cuts.values()))

    def _cuts(self, bounds: Sequence[tuple[int, int]]) -> list[slice]:
        """The batches of a data set; cases that an extension added follow those of before in batches of their own."""
        if self.place.choices.rule == FIRST_RULE:  # whose choice an extension leaves as it was
            return slices(bounds[0][1], rounds(len(self.settings)))
        return [slice(a + cut.start, a + cut.stop) for a, b in bounds for cut in doubling(b - a)]

    @property
    def over(self) -> bool:
        return self.batch >= self.last

    def tasks(self, settings: dict, measured: bool = False) -> list[Task]:
        """The dev tasks of `settings` in the next batch; with `measured`, in all batches before it too."""
        chosen = range(0 if measured else self.batch, self.batch + 1)
        return [
            self.place.task(pool, self.method, settings, batch, f"dev {number + 1}")
            for pool, cuts in self.cuts.items()
            for number in chosen
            if number < len(cuts)
            and (batch := self.place.pools[pool].batch("dev", cuts[number].start, cuts[number].stop)).cases
        ]

    def judge(self, read: Read) -> None:
        """Drop what the measured batches rule out."""
        points = [read(self.tasks(settings, measured=True)) for settings in self.settings]
        order, last = ranked(points), self.batch + 1 == self.last
        keep = order[: self._places(max(point.known for point in points), last)]
        if self.place.plan.pareto:
            keep = [i for i in order if i in {*keep, *front(points)}]
        keep = [i for i in keep if not points[i].failed]
        self.best = points[keep[0]] if keep else Point(failed=True)
        self.settings = [self.settings[i] for i in (keep if last else sorted(keep))]
        self.batch = self.batch + 1 if keep else self.last

    def _places(self, known: int, last: bool) -> int:
        """How many settings stay after a batch with which `known` known cases are measured."""
        half = ceil(len(self.settings) / 2)
        if self.place.choices.rule == FIRST_RULE:
            return 1 if last else half
        if last:
            return self.finalists
        if known < self.goal:
            return len(self.settings)
        while self.goal <= known:
            self.goal *= 2
        return max(self.finalists, half)
