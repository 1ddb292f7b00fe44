"""In which order a rung's cells are measured, and which of them at all: everything at once, or successive halving.

Halving is done for every rung x method x edit kind by the same rule, on development cases (`races.py`). Only what
survives is measured on the test cases, at every dose of the plan. The controls follow what was chosen there.

A schedule is a generator: it yields the next tasks, and is sent a function from tasks to the `Point` that their results
make. It holds no results itself, so it can be begun anew at any time, by any process.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence

from benchmarks.sweep.cell import Task
from benchmarks.sweep.planning.grids import settings_grid
from benchmarks.sweep.planning.plan import ADAPTIVE, EVERY, FIRST_RULE, Plan, lookups
from benchmarks.sweep.pools import Batch, Pool
from benchmarks.sweep.search.adaptive import adaptive, every_place
from benchmarks.sweep.search.place import Place
from benchmarks.sweep.search.races import Race, Read
from benchmarks.sweep.search.search_points import ALL_KNOWN, Point, ranked
from benchmarks.sweep.shards import Part
from editing.errors import BadRequest
from editing.methods import taken_by
from valley.rows import CONTROLS, PLACEBO, RANDOM_LAYER

# At most so many cases per cell, where cases are many: what a killed run loses, and how often it says where it is.
CHUNK = 200

Steps = Generator[list[Task], Read, None]


def steps(place: Place, part: Part | None = None) -> Steps:
    """The schedule of one rung; of `part` only the share that is its own.

    Raises:
        BadRequest: no dev or no test case to search with.
    """
    if place.plan.search == ADAPTIVE:
        return adaptive(place)
    if place.plan.search == EVERY:
        return every_place(place)
    return (_halving if place.plan.search == "halving" else _everything)(place, part)


def walk(place: Place, part: Part | None = None) -> Iterator[list[Task]]:
    """The steps as they would be if every setting did equally well on facts that are all known: what there is to do,
    before anything is measured."""
    schedule = steps(place, part)
    tasks = next(schedule, None)
    while tasks is not None:
        yield tasks
        try:
            tasks = schedule.send(lambda _: Point(known=ALL_KNOWN))
        except StopIteration:
            return


def _everything(place: Place, part: Part | None) -> Steps:
    tasks = [
        task
        for pool, cases in place.pools.items()
        for stage, batch in chunks(cases)
        for method in place.plan.methods
        for settings in settings_grid(
            place.plan, method, lookups([case.request for case in cases.cases]), place.n_layers
        )
        for task in place.dosed(pool, method, settings, batch, stage)
    ]
    yield [task for i, task in enumerate(tasks) if part is None or part.takes(i)]


def chunks(cases: Pool, side: str = "") -> list[tuple[str, Batch]]:
    """The cases of a side, or all, in cells of at most CHUNK, each with the name of its stage.

    Cases that an extension of the run added are cells of their own, so that those of before stay as they are.
    """
    made = []
    for added, (begin, end) in enumerate(cases.bounds(side)):
        name = f"{side} added {added}".strip() if added else side
        starts = range(begin, end, CHUNK)
        for number, at in enumerate(starts, 1):
            stage = f"{name} part {number}".strip() if len(starts) > 1 else name
            made.append((stage, cases.batch(side, at, min(end, at + CHUNK))))
    return made


def _halving(place: Place, part: Part | None) -> Steps:
    plan = place.plan
    for (kind, dataset, _), cases in place.pools.items():
        for side in ("dev", "test"):
            if not cases.side(side):
                count = len(cases.cases)
                raise BadRequest(
                    f"{kind} edits of {dataset}: no {side} case among {count}; raise limit, or take another split.seed"
                )
    kinds = list(dict.fromkeys(pool[0] for pool in place.pools))
    searched = [method for method in plan.methods if method not in CONTROLS]
    units = [(kind, method) for kind in kinds for method in searched]
    own = [unit for i, unit in enumerate(units) if part is None or part.takes(i)]
    races = yield from _run([_race(place, *unit) for unit in own])
    if set(own) == set(units):
        controls = yield from _run(_random_layers(place, kinds, races))
        yield [task for kind in kinds for task in _finals(place, kind, races, controls)]
        return
    yield [task for kind in kinds for task in _finals(place, kind, races)]
    # The controls follow the best of all methods, so who takes the last method of a kind goes over the others' races
    # too: what is finished is only read, and what is at work elsewhere is waited for.
    last = [kind for kind in kinds if (kind, searched[-1]) in own] if searched else []
    if last and any(method in CONTROLS for method in plan.methods):
        races = yield from _run([_race(place, *unit) for unit in units if unit[0] in last])
        controls = yield from _run(_random_layers(place, last, races))
        yield [task for kind in last for task in _finals(place, kind, races, controls)]


def _race(place: Place, kind: str, method: str) -> Race:
    return Race(place, kind, method, list(place.grid(kind, method)))


def _run(races: list[Race]) -> Generator[list[Task], Read, list[Race]]:
    while running := [race for race in races if not race.over]:
        read = yield [task for race in running for settings in race.settings for task in race.tasks(settings)]
        for race in running:
            race.judge(read)
    return races


def _best(races: Sequence[Race], kind: str) -> Race | None:
    """The race of the best method on a kind; None where every setting of all methods failed."""
    same_kind = [race for race in races if race.kind == kind and race.settings]
    return same_kind[ranked([race.best for race in same_kind])[0]] if same_kind else None


def _random_layers(place: Place, kinds: Sequence[str], races: Sequence[Race]) -> list[Race]:
    """Per kind the race of the control `random_layer`: the best method at one drawn layer, its other settings searched
    on the same cases by the same rule."""
    if RANDOM_LAYER not in place.plan.methods:
        return []
    tasks = []
    for kind in kinds:
        best = _best(races, kind)
        if best is not None:
            seed = place.plan.all_seeds()[0]
            draw = {"draw": f"{kind} at {place.rung.name}, seed {seed}"} | _said(place.plan, RANDOM_LAYER)
            grid = [
                _wrapped(RANDOM_LAYER, best.method, {key: value for key, value in one.items() if key != "depth"}) | draw
                for one in place.grid(kind, best.method)
            ]
            distinct = [one for i, one in enumerate(grid) if one not in grid[:i]]
            tasks.append(Race(place, kind, RANDOM_LAYER, distinct, finalists=1))
    return tasks


def _finals(place: Place, kind: str, races: Sequence[Race], controls: Sequence[Race] | None = None) -> list[Task]:
    """What survived of a kind on the test cases; with the races of controls, all controls beside it."""
    tried = [(race.method, settings) for race in races if race.kind == kind for settings in race.settings]
    best = _best(races, kind)
    if best is None:
        return []
    if controls is not None:
        # By rule 2 each method has its own placebo, since only that one corrects its scores.
        paired = [best] if place.choices.rule == FIRST_RULE else [race for race in races if race.kind == kind]
        for name in place.plan.methods:
            if name == PLACEBO:
                placebos = [_wrapped(name, race.method, race.settings[0]) for race in paired if race.settings]
                tried += [(name, settings | _said(place.plan, name)) for settings in placebos]
            elif name == RANDOM_LAYER:
                tried += [(name, race.settings[0]) for race in controls if race.kind == kind and race.settings]
            elif name in CONTROLS:
                tried.append((name, taken_by(name, best.settings[0]) | _said(place.plan, name)))
    return [
        task
        for pool in place.of(kind)
        for stage, batch in chunks(place.pools[pool], "test")
        for method, settings in tried
        for task in place.dosed(pool, method, settings, batch, stage)
    ]


def _wrapped(control: str, method: str, settings: Mapping) -> dict:
    """Settings of a control that makes the edits of `method` with `settings`."""
    shared = taken_by(control, settings)
    others = {key: value for key, value in settings.items() if key not in shared}
    return shared | {"inner": method, "options": json.dumps(others, sort_keys=True)}


def _said(plan: Plan, control: str) -> dict:
    """What the plan says of a control."""
    return {key: values[0] for key, values in dict(plan.axes).get(control, ())}
