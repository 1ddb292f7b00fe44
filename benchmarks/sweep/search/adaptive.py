"""An adaptive search of one rung within a time budget: coarse layers of one site first, then its other sites, finer
layers and other methods at the best places, then doses on test cases.

For each kind of edit, with the plan's first method:

1. the first site that the model has, with every lookup, at COARSE layers, evenly spaced, first and last among them, one
   layer at a time so that a search cut short has seen all depths alike; behind the first of them the plan's `starts`.
   The first layer meets development cases until it has a score; what that took decides on how many, at most BATCH, the
   others are measured: on so few that all of this and the first round of step 2 fit into half of the time. Cases are
   evaluated only on what the score counts, in the language of the edit, test cases also what may fail a gate (drift,
   fluency, ability), once each;
2. rounds: the better half stays (at least SURVIVORS), the other sites at the places of the best two join once, and
   untried layers half way to the tried neighbours of the best two; all are measured on the next batch of cases, until
   neither cases nor untried places are left. Batches grow as ENDS says. Nothing is dropped before a case is measured
   whose fact the model knows;
3. the other methods at the two best places;
4. the FINALISTS best on the test cases, BATCH at a time, at every dose of the plan; the `starts` with them, dropped on
   few cases or not.

Steps 1 to 3 stop where their share of the budget is spent, step 4 before what would end behind it, once ENOUGH known
test cases of each kind are measured. Everything is a cell of the run folder, so that a search that was killed, or is
given more time, begins with what is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from benchmarks.cases import Case
from benchmarks.sweep.cell import Task
from benchmarks.sweep.pools import Batch
from benchmarks.sweep.search.place import Place
from benchmarks.sweep.search.races import Read
from benchmarks.sweep.search.search_points import ranked
from benchmarks.sweep.timings import recall
from editing.errors import BadRequest
from editing.methods import make_method, taken_by
from valley.rows import GATES, IN_LANGUAGE, KEPT

COARSE, BATCH, SURVIVORS, FINALISTS = 5, 4, 3, 2
ENDS = (1, 2, 4)  # of the first batches of development cases; the others hold BATCH
ENOUGH = 3  # known test cases, below which a spent budget does not end step 4
COUNTED = ("efficacy", *IN_LANGUAGE, *KEPT)  # probes that are evaluated, of test cases one of each other gate too
SEARCH_SHARE = 0.5  # of the budget, for steps 1 to 3 of all kinds
FINER = 4  # settings of `Hunt.finer` in the first round
# Settings of the edits of a kind, at every place: a rename is kept away from the definitions of other concepts.
OF_KIND: dict[str, dict] = {"rename": {"keep_weight": 1.0}}
Setting = tuple[str, dict]  # method and its settings


@dataclass
class Hunt:
    """The search for one kind of edit.

    Attributes:
        grid: every setting of the first method. alive: those still in the running, all measured on the same batches.
        batches: how many batches of cases `alive` are measured on. known: cases of them whose fact the model knows.
        starts: settings that are tried beside the grid, without those that failed. left: seconds that the search has.
    """

    place: Place
    kind: str
    left: Callable[[], float]
    grid: list[dict]
    starts: list[Setting] = field(default_factory=list)
    alive: list[Setting] = field(default_factory=list)
    tried: list[Setting] = field(default_factory=list)
    batches: int = 1
    known: int = 0
    made: dict[tuple, Batch] = field(default_factory=dict, repr=False)

    def tasks(self, settings: Sequence[Setting], first: int, last: int) -> list[Task]:
        """The development tasks of settings in the batches numbered from `first` below `last`."""
        return [
            self.place.task(pool, method, chosen, batch, f"dev {number + 1}")
            for pool in self.place.of(self.kind)
            for method, chosen in settings
            for number in range(first, last)
            if (batch := self.batch(pool, number)).cases
        ]

    def batch(self, pool: tuple[str, str, int], number: int) -> Batch:
        """The development cases of a batch."""
        if (pool, number) not in self.made:
            cases = self.place.pools[pool].side("dev")[end_of(number - 1) : end_of(number)]
            self.made[pool, number] = Batch(tuple(_counted(case) for case in cases))
        return self.made[pool, number]

    @property
    def more_cases(self) -> bool:
        """Whether there are development cases behind those measured."""
        sizes = [len(self.place.pools[pool].side("dev")) for pool in self.place.of(self.kind)]
        return end_of(self.batches - 1) < max(sizes)

    def over(self) -> bool:
        """Whether the time is spent."""
        return self.left() < 0

    def order(self, read: Read) -> list[Setting]:
        """`alive`, the best first; what failed is left out."""
        points = [read(self.tasks([one], 0, self.batches)) for one in self.alive]
        self.known = max((point.known for point in points), default=0)
        return [self.alive[i] for i in ranked(points) if not points[i].failed]

    def coarse(self, site: str | None) -> list[list[Setting]]:
        """The settings of step 1 at a site, one list per layer: the outermost first, then those between them."""
        depths = sorted({one.get("depth") or 0.0 for one in self.grid})
        count = min(COARSE, len(depths))
        chosen = [depths[round(i * (len(depths) - 1) / max(1, count - 1))] for i in range(count)]
        spread = sorted(dict.fromkeys(chosen), key=lambda depth: (chosen.index(depth) % 2, depth))
        method = self.place.plan.methods[0]
        own = [one for one in self.grid if one.get("site") == site]
        return [[(method, one) for one in own if (one.get("depth") or 0.0) == depth] for depth in spread]

    def other_sites(self, best: Sequence[Setting]) -> list[Setting]:
        """Untried settings at the lookup and layer of the best ones, at other sites."""
        method = self.place.plan.methods[0]
        there = [(method, one) for one in self.grid if any(one == here | {"site": one.get("site")} for _, here in best)]
        return [one for one in there if one not in self.tried]

    def finer(self, best: Sequence[Setting]) -> list[Setting]:
        """Untried settings half way between the best and their tried neighbours at the same site and lookup."""
        untried: list[Setting] = []
        for method, chosen in best:
            same = [one for one in self.grid if all(one.get(k) == chosen.get(k) for k in chosen if k != "depth")]
            same.sort(key=lambda one: one.get("depth") or 0.0)
            at = same.index(chosen) if chosen in same else -1
            if at < 0:
                continue
            known = [i for i, one in enumerate(same) if (method, one) in self.tried]
            below, above = [i for i in known if i < at], [i for i in known if i > at]
            for edge in (max(below, default=-1), min(above, default=len(same))):
                middle = (at + edge) // 2 if edge < at else (at + edge + 1) // 2
                between = 0 <= middle < len(same) and middle not in (at, edge)
                if between and (method, same[middle]) not in (*self.tried, *untried):
                    untried.append((method, same[middle]))
        return untried

    def elsewhere(self, best: Sequence[Setting]) -> list[Setting]:
        """The plan's other methods at the places of the best settings, where they can edit there."""
        others: list[Setting] = []
        for method in self.place.plan.methods[1:]:
            for _, chosen in best:
                if "depth" not in chosen:  # of a method without places
                    continue
                place = taken_by(method, {key: chosen[key] for key in ("site", "lookup", "depth") if key in chosen})
                settings = taken_by(method, dict(self.place.plan.settings)) | place
                try:
                    make_method(method, **settings)
                except BadRequest:  # a site that this method is not defined for
                    continue
                if (method, settings) not in others:
                    others.append((method, settings))
        return others

    def first_cases(self, settings: list[Setting]) -> Generator[list[Task], Read, Read]:
        """Measure the first settings on cases until they have a score, or on BATCH known ones; then on as many as
        all others have time for."""
        read = yield self.tasks(settings, 0, 1)
        while True:
            points = [read(self.tasks([one], 0, self.batches)) for one in settings]
            known = max(point.known for point in points)
            scored = any(point.score == point.score for point in points)  # a case may have no neighbour to ask about
            if known >= (1 if scored else BATCH) or not self.more_cases or all(point.failed for point in points):
                break
            self.batches += 1
            read = yield self.tasks(settings, self.batches - 1, self.batches)
        seconds = sum(recall(cell) or 0.0 for cell, _ in self.tasks(settings, self.batches - 1, self.batches))
        per_case = seconds / len(settings)
        depths, sites = ({one.get(key) for one in self.grid} for key in ("depth", "site"))
        settings_in_all = len(settings) * min(COARSE, len(depths)) + len(self.starts) + 2 * (len(sites) - 1) + FINER
        affordable = self.left() / 2 / (per_case * settings_in_all) if per_case else inf
        more = self.batches
        while known + end_of(more) - end_of(self.batches - 1) <= min(affordable, BATCH):
            more += 1
        if more > self.batches and self.more_cases:
            read = yield self.tasks(settings, self.batches, more)
            self.batches = more
        return read

    def run(self) -> Generator[list[Task], Read, list[Setting]]:
        """Steps 1 to 3; the settings still in the running, the best first."""
        read: Read | None = None
        for site in dict.fromkeys(one.get("site") for one in self.grid):
            for settings in self.coarse(site):
                if read is None:
                    read = yield from self.first_cases(settings)
                    if self.starts:
                        read = yield self.tasks(self.starts, 0, self.batches)
                        made = [read(self.tasks([one], 0, self.batches)) for one in self.starts]
                        self.starts = [one for one, point in zip(self.starts, made, strict=True) if not point.failed]
                        self.alive += self.starts
                        self.tried += self.starts
                elif not self.over():
                    read = yield self.tasks(settings, 0, self.batches)
                else:
                    break
                self.alive += settings
                self.tried += settings
            assert read is not None
            if any(one not in self.starts for one in self.order(read)):  # a model may lack a site
                break
        assert read is not None
        moved = False  # to the other sites
        while not self.over():
            order = self.order(read)
            if not order:
                return []
            fresh: list[Setting] = []
            if self.known or not self.more_cases:
                self.alive = order[: max(SURVIVORS, (len(order) + 1) // 2)]
                fresh = self.finer(self.alive[:2]) + ([] if moved else self.other_sites(self.alive[:2]))
                moved = True
            if fresh:
                read = yield self.tasks(fresh, 0, self.batches)
                self.alive += fresh
                self.tried += fresh
            elif not self.more_cases:
                break
            if self.more_cases and not self.over():
                read = yield self.tasks(self.alive, self.batches, self.batches + 1)
                self.batches += 1
        others = self.elsewhere(self.order(read)[:2])
        if others and not self.over():
            read = yield self.tasks(others, 0, self.batches)
            self.alive += others
        return self.order(read)


def end_of(batch: int) -> int:
    """Number of the first development case behind those of a batch; 0 for the batch before the first."""
    return (0, *ENDS)[batch + 1] if batch < len(ENDS) else ENDS[-1] + BATCH * (batch + 1 - len(ENDS))


def _counted(case: Case, gates: Iterable[str] = ()) -> Case:
    """The case with the probes that the score counts, and the first one of each of `gates`."""
    own = [p for p in case.probes if p.lang == case.request.lang]
    counted = [p for p in own if p.kind in COUNTED]
    firsts = [next((p for p in own if p.kind == kind), None) for kind in gates if kind not in COUNTED]
    return replace(case, probes=(*counted, *filter(None, firsts)))


def adaptive(place: Place) -> Generator[list[Task], Read, None]:
    """The schedule of one rung.

    Raises:
        BadRequest: a kind of edit without development or test cases.
    """
    began, seconds = time.monotonic(), 60 * place.plan.budget or inf
    kinds = list(dict.fromkeys(pool[0] for pool in place.pools))
    for pool, cases in place.pools.items():
        for side in ("dev", "test"):
            if not cases.side(side):
                raise BadRequest(f"{pool[0]} edits: no {side} case among {len(cases.cases)}; raise limit")
    finalists: dict[str, list[Setting]] = {}
    surely: dict[str, list[Setting]] = {}
    for number, kind in enumerate(kinds, 1):
        deadline = began + SEARCH_SHARE * seconds * number / len(kinds)
        hunt = hunt_for(place, kind, deadline)
        best = yield from hunt.run()
        surely[kind] = best[:1] + [one for one in hunt.starts if one not in best[:1]]
        finalists[kind] = surely[kind] + [one for one in best[:FINALISTS] if one not in surely[kind]]
    yield from _tests(place, finalists, surely, began + seconds)


def hunt_for(place: Place, kind: str, deadline: float = inf) -> Hunt:
    """The search for one kind of edit until `deadline`, in seconds of `time.monotonic`."""
    method = place.plan.methods[0]
    kept = all(case.request.keep for pool in place.of(kind) for case in place.pools[pool].cases)
    beside = taken_by(method, OF_KIND.get(kind, {})) if kept else {}
    grid = [one | beside for one in place.grid(kind, method)]
    starts = [(name, dict(settings)) for of, name, settings in place.plan.starts if of == kind]
    return Hunt(place, kind, lambda: deadline - time.monotonic(), grid, starts)


def needed_soon(place: Place) -> list[Task]:
    """Tasks at every site and lookup of the coarse layers: their covariances are made in one pass over the corpus,
    which takes little more than one site's, instead of a pass for each step."""
    tasks: list[Task] = []
    for kind in dict.fromkeys(pool[0] for pool in place.pools):
        hunt = hunt_for(place, kind)
        for site in dict.fromkeys(one.get("site") for one in hunt.grid):
            tasks += [task for settings in hunt.coarse(site) for task in hunt.tasks(settings, 0, 1)]
        tasks += hunt.tasks(hunt.starts, 0, 1)
    return tasks


def _tests(
    place: Place, finalists: dict[str, list[Setting]], surely: dict[str, list[Setting]], deadline: float
) -> Generator[list[Task], Read, None]:
    """Step 4. All finalists of a kind meet the same cases; of the first batch those that are measured `surely` come
    first, for all kinds, and the others meet none where they would end behind the deadline."""
    known = dict.fromkeys(finalists, 0)

    def measured(kind: str, one: Setting, first: int) -> Generator[list[Task], Read, None]:
        if tasks := _test(place, kind, one, first, first + BATCH):
            read = yield tasks
            if one is finalists[kind][0]:
                known[kind] += read(tasks[:1]).known

    seconds: dict[str, float] = {}  # of one setting on a batch
    for kind, settings in surely.items():
        for one in settings:
            began = time.monotonic()
            yield from measured(kind, one, 0)
            seconds[kind] = time.monotonic() - began
    for kind in finalists:
        for one in [one for one in finalists[kind] if one not in surely[kind]]:
            if time.monotonic() + seconds[kind] > deadline:
                finalists[kind].remove(one)
            else:
                yield from measured(kind, one, 0)
    for first in range(BATCH, max(len(cases.side("test")) for cases in place.pools.values()), BATCH):
        for kind in finalists:
            needed = seconds.get(kind, 0.0) * len(finalists[kind])
            if known[kind] < ENOUGH or time.monotonic() + needed <= deadline:
                for one in finalists[kind]:
                    yield from measured(kind, one, first)


def _test(place: Place, kind: str, setting: Setting, first: int, last: int) -> list[Task]:
    """The tasks of a setting on the test cases of each pool numbered from `first` below `last`, of one batch."""
    tasks: list[Task] = []
    for pool in place.of(kind):
        if cases := place.pools[pool].side("test")[first:last]:
            batch = Batch(tuple(_counted(case, GATES) for case in cases))
            tasks += place.dosed(pool, *setting, batch, f"test {first // BATCH + 1}")
    return tasks


def every_place(place: Place) -> Generator[list[Task], Read, None]:
    """What an adaptive search is held against: every setting of the plan's first method on as many test cases as the
    plan says, with the questions of step 4 at the whole dose; then the FINALISTS best, gates apart, at the other
    doses."""
    for kind in dict.fromkeys(pool[0] for pool in place.pools):
        settings = [(place.plan.methods[0], one) for one in hunt_for(place, kind).grid]
        made = [
            [
                task
                for first in range(0, place.plan.tests, BATCH)
                for task in _test(place, kind, one, first, min(first + BATCH, place.plan.tests))
            ]
            for one in settings
        ]
        whole = [[task for task in tasks if not task.cell.doses] for tasks in made]
        read = yield [task for tasks in whole for task in tasks]
        # A gate that an edit fails at the whole dose (its fluency) it may pass at a smaller one.
        best = ranked([replace(read(tasks), gated=False) for tasks in whole])[:FINALISTS]
        yield [task for i in best for task in made[i]]
