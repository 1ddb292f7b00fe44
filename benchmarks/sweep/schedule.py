"""In which order a rung's cells are measured, and which of them at all: everything at once, or successive halving.

Halving (Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", section
3), for every rung x method x edit kind by the same rule: all S settings are measured on a first slice of the dev cases,
the better half on twice as many, and so on, until the last round has measured all dev cases; `rounds(S)` rounds in all.
Better is a higher harmonic mean of generalisation and specificity (`benchmarks/sweep/search_points.py`), ties by order;
a setting that fails on every case is out. Slices are disjoint, so nothing is measured twice. Only what survives is
measured on the test cases; the controls follow the best method's setting there.

A schedule is a generator: it yields the next tasks, and is sent a function from tasks to the `Point` that their results
make. It holds no results itself, so it can be begun anew at any time, by any process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil, log2

from benchmarks.ladders import Rung
from benchmarks.provenance import canonical
from benchmarks.sweep.cell import Cell, Task
from benchmarks.sweep.planning.grids import settings_grid
from benchmarks.sweep.planning.plan import Plan, lookups
from benchmarks.sweep.pools import Batch, Pool
from benchmarks.sweep.search_points import Point, front, ranked
from benchmarks.sweep.shards import Part
from editing.errors import BadRequest
from editing.methods import make_method, taken_by
from valley.rows import CONTROLS

# Fewer dev cases than this tell nothing.
FIRST = 4
# At most so many cases per cell, where cases are many: what a killed run loses, and how often it says where it is.
CHUNK = 200

Read = Callable[[Sequence[Task]], Point]
Steps = Generator[list[Task], Read, None]
# (edit kind, data set, seed) -> its cases.
Pools = Mapping[tuple[str, str, int], Pool]


@dataclass(frozen=True)
class Place:
    """What all cells of one rung share."""

    plan: Plan
    ladder: str
    rung: Rung
    index: int
    pools: Pools

    def task(self, pool: tuple[str, str, int], method: str, settings: Mapping, batch: Batch, stage: str) -> Task:
        kind, dataset, seed = pool
        cell = Cell(
            ladder=self.ladder,
            rung=self.rung.name,
            rung_index=self.index,
            model=self.rung.model,
            method=method,
            settings=canonical(make_method(method, **settings).settings()),
            edit_kind=kind,
            dataset=dataset,
            seed=seed,
            corpus=self.plan.corpus,
            cases=batch.digest,
            split=canonical(asdict(self.plan.split)) if self.plan.split else "",
            stage=stage,
            known=self.plan.known,
        )
        return Task(cell, batch.cases)

    def grid(self, kind: str, method: str) -> tuple[dict, ...]:
        """The settings to try on a kind of edit, whatever its data set."""
        positions = lookups([case.request for pool in self.of(kind) for case in self.pools[pool].cases])
        return settings_grid(self.plan, method, positions)

    def of(self, kind: str) -> list[tuple[str, str, int]]:
        return [pool for pool in self.pools if pool[0] == kind]


def steps(place: Place, part: Part | None = None) -> Steps:
    """The schedule of one rung; of `part` only the share that is its own.

    Raises:
        BadRequest: no dev or no test case to search with.
    """
    return (_halving if place.plan.search == "halving" else _everything)(place, part)


def walk(place: Place, part: Part | None = None) -> Iterator[list[Task]]:
    """The steps as they would be if every setting did equally well: what there is to do, before anything is known."""
    schedule = steps(place, part)
    tasks = next(schedule, None)
    while tasks is not None:
        yield tasks
        try:
            tasks = schedule.send(lambda _: Point())
        except StopIteration:
            return


def _everything(place: Place, part: Part | None) -> Steps:
    plan, pools = place.plan, place.pools
    tasks = [
        place.task(pool, method, settings, batch, stage)
        for pool, cases in pools.items()
        for stage, batch in chunks(cases)
        for method in plan.methods
        for settings in settings_grid(plan, method, lookups([case.request for case in cases.cases]))
    ]
    yield [task for i, task in enumerate(tasks) if part is None or part.takes(i)]


def chunks(cases: Pool, side: str = "") -> list[tuple[str, Batch]]:
    """The cases of a side, or all, in cells of at most CHUNK, each with the name of its stage."""
    n = len(cases.side(side) if side else cases.cases)
    if n <= CHUNK:
        return [(side, cases.batch(side))]
    starts = range(0, n, CHUNK)
    return [(f"{side} part {i}".strip(), cases.batch(side, at, at + CHUNK)) for i, at in enumerate(starts, 1)]


def rounds(n_settings: int) -> int:
    """How often `n_settings` are halved until one is left; at least once, so that methods can be compared on dev."""
    return max(1, ceil(log2(n_settings)))


def slices(n_cases: int, n_rounds: int) -> list[slice]:
    """The dev cases of each round: after round r of R, `n_cases` / 2^(R - 1 - r) are measured, at least FIRST; all at
    last."""
    ends = [max(min(FIRST, n_cases), ceil(n_cases / 2 ** (n_rounds - 1 - r))) for r in range(n_rounds)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


@dataclass
class _Race:
    """One method on one kind of edit: its settings still in the running; the best comes first when the last round is
    over."""

    place: Place
    kind: str
    method: str
    settings: list[dict]
    round: int = 0
    best: Point = field(default_factory=Point)

    def __post_init__(self) -> None:
        self.rounds = rounds(len(self.settings))

    def tasks(self, settings: dict, upto: int | None = None) -> list[Task]:
        """The dev tasks of `settings` in this round; with `upto`, in all rounds to that one."""
        wanted = [self.round] if upto is None else range(upto + 1)
        found = []
        for pool in self.place.of(self.kind):
            cases = self.place.pools[pool]
            cuts = slices(len(cases.side("dev")), self.rounds)
            batches = [(r, cases.batch("dev", cuts[r].start, cuts[r].stop)) for r in wanted]
            found += [
                self.place.task(pool, self.method, settings, batch, f"dev {r + 1}")
                for r, batch in batches
                if batch.cases
            ]
        return found

    def judge(self, read: Read) -> None:
        points = [read(self.tasks(settings, self.round)) for settings in self.settings]
        order, last = ranked(points), self.round + 1 == self.rounds
        keep = order[: 1 if last else ceil(len(order) / 2)]
        if self.place.plan.pareto:
            keep = [i for i in order if i in {*keep, *front(points)}]
        keep = [i for i in keep if not points[i].failed]
        self.best = points[keep[0]] if keep else Point(failed=True)
        self.settings = [self.settings[i] for i in (keep if last else sorted(keep))]
        self.round = self.round + 1 if keep else self.rounds


def _halving(place: Place, part: Part | None) -> Steps:
    plan = place.plan
    for (kind, dataset, _), cases in place.pools.items():
        for side in ("dev", "test"):
            if not cases.side(side):
                raise BadRequest(f"{kind} edits of {dataset}: no {side} case among {len(cases.cases)}; raise limit")
    kinds = list(dict.fromkeys(pool[0] for pool in place.pools))
    searched = [method for method in plan.methods if method not in CONTROLS]
    units = [(kind, method) for kind in kinds for method in searched]
    own = [unit for i, unit in enumerate(units) if part is None or part.takes(i)]
    races = yield from _run_races(place, own)
    if set(own) == set(units):
        yield [task for kind in kinds for task in _finals(place, kind, races, controls=True)]
        return
    yield [task for kind in kinds for task in _finals(place, kind, races)]
    # The controls follow the best of all methods, so who takes the last method of a kind goes over the others' races
    # too: what is finished is only read, and what is at work elsewhere is waited for.
    last = [kind for kind in kinds if (kind, searched[-1]) in own] if searched else []
    if last and any(method in CONTROLS for method in plan.methods):
        races = yield from _run_races(place, [unit for unit in units if unit[0] in last])
        yield [task for kind in last for task in _finals(place, kind, races, controls=True)]


def _run_races(place: Place, units: Sequence[tuple[str, str]]) -> Generator[list[Task], Read, list[_Race]]:
    races = [_Race(place, kind, method, list(place.grid(kind, method))) for kind, method in units]
    while running := [race for race in races if race.round < race.rounds]:
        read = yield [task for race in running for settings in race.settings for task in race.tasks(settings)]
        for race in running:
            race.judge(read)
    return races


def _finals(place: Place, kind: str, races: Sequence[_Race], controls: bool = False) -> list[Task]:
    """What survived of a kind on the test cases, with the controls beside the best of it if asked for."""
    mine = [race for race in races if race.kind == kind and race.settings]
    if not mine:
        return []
    tried = [(race.method, settings) for race in mine for settings in race.settings]
    if controls:
        best = mine[ranked([race.best for race in mine])[0]]
        names = [method for method in place.plan.methods if method in CONTROLS]
        tried += [(name, _follow(place.plan, name, best)) for name in names]
    return [
        place.task(pool, method, settings, batch, stage)
        for pool in place.of(kind)
        for stage, batch in chunks(place.pools[pool], "test")
        for method, settings in tried
    ]


def _follow(plan: Plan, control: str, best: _Race) -> dict:
    """Settings of a control beside the chosen setting: what the plan says of it, else what was chosen."""
    chosen, said = best.settings[0], {key: values[0] for key, values in dict(plan.axes).get(control, ())}
    if control == "placebo":
        shared = taken_by(control, chosen)
        others = {key: value for key, value in chosen.items() if key not in shared}
        return shared | {"inner": best.method, "options": json.dumps(others, sort_keys=True)} | said
    return taken_by(control, chosen) | said
