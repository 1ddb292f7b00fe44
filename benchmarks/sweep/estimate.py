"""What a plan will do before it does it: cells per rung, seconds, memory. Says where a figure comes from.

Seconds come from cells of the same model, method, setting, kind of edit and data set that have run on this machine.
Where there is none, from a rule that is right within a factor of ten at best: a case costs its optimiser steps forwards
and backwards through contexts, and its probes forwards, at 2 and 4 operations per parameter and token.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan
from pathlib import Path

from benchmarks.measure import open_model, planned
from benchmarks.models import absent, is_local
from benchmarks.sweep.cell import Task
from benchmarks.sweep.cell_work import doses_of
from benchmarks.sweep.extension import chain_of
from benchmarks.sweep.planning.plan import FIRST_RULE, Plan
from benchmarks.sweep.search.place import Place, places
from benchmarks.sweep.search.schedule import walk
from benchmarks.sweep.timings import recall
from editing.errors import UserError
from editing.methods import make_method
from editing.model import MemoryPlan, check_device, format_plan
from valley.rows import CONTROLS, run_record

# Of the rule: operations a second of a common machine, tokens of a context, tokens of a probe with its candidates.
RATE, CONTEXT_TOKENS, PROBE_TOKENS = 5e10, 12, 60


@dataclass(frozen=True)
class RungEstimate:
    """One rung of a plan.

    Attributes:
        cells, cases: to measure, were the folder empty; cases once per setting.
        seconds: NaN where neither timings nor the number of parameters are known.
        timed: share of the cells whose seconds come from earlier runs; the others follow the rule.
        memory: the memory plan, sizes in bytes; None where there is none, then `reason` says why.
        dose_seconds: those of `seconds` that go into doses other than 1.
    """

    rung: str
    cells: int
    cases: int
    seconds: float
    timed: float
    memory: MemoryPlan | None
    dose_seconds: float = 0.0
    reason: str = ""


def estimate(
    plan: Plan, device: str | None = None, out: Path | None = None
) -> tuple[tuple[RungEstimate, ...], tuple[str, ...]]:
    """Per rung what there is to do, and a line for each optional rung, and about each data set's records, left out.
    Models on this machine are loaded for their memory.

    Args:
        out: the run folder, which may hold a run that the plan goes on with.

    Raises:
        UserError: as `run_bench` before any work.
    """
    check_device(device)
    about = run_record(out)
    chain = chain_of(out or Path(), plan.fixed(), about, extend=True)
    rungs, skipped, left_out = places(plan, about, chain.plans)
    if plan.corpus.startswith("hub:"):  # an estimate downloads nothing
        left_out += (f"corpus {plan.corpus}: not checked; whether it is on the hub shows when the run begins",)
    return tuple(_rung(place, device) for place in rungs), skipped + left_out


def _rung(place: Place, device: str | None) -> RungEstimate:
    tasks = [task for step in walk(place) for task in step]
    parameters, memory, reason = float(place.rung.parameters or nan), None, ""
    if not is_local(place.rung.model):
        reason = absent(place.rung.model) or "the model is not trained yet"
    else:
        try:
            parameters, memory = _memory(place, tasks, device)
        except UserError as error:
            reason = str(error)
    known = [recall(task.cell) for task in tasks]
    ruled = [rule(task, parameters) for task in tasks]
    seconds = [k * len(task.cases) if k is not None else r for task, k, r in zip(tasks, known, ruled, strict=True)]
    timed = sum(k is not None for k in known) / len(known)
    doses = sum(second for second, task in zip(seconds, tasks, strict=True) if task.cell.doses)
    cases = sum(len(task.cases) for task in tasks if not task.cell.doses)
    return RungEstimate(place.rung.name, len(tasks), cases, sum(seconds), timed, memory, doses, reason)


def _memory(place: Place, tasks: Sequence[Task], device: str | None) -> tuple[float, MemoryPlan]:
    lm = open_model(place.rung.model, device)
    methods = [make_method(cell.method, **json.loads(cell.settings)) for cell, _ in tasks]
    requests = [case.request for pool in place.pools.values() for case in pool.cases]
    return float(lm.n_parameters), planned(lm, methods, requests, any(cell.evaluation for cell, _ in tasks))[1]


def rule(task: Task, parameters: float) -> float:
    """Seconds of a cell by the rule of this module; NaN where the number of parameters is not known."""
    settings = json.loads(task.cell.settings)
    contexts = settings.get("contexts_per_step") or 1 + sum(settings.get(f"{n}_prefixes", 0) for n in ("short", "long"))
    edit = 6 * settings.get("steps", 1) * contexts * CONTEXT_TOKENS
    if task.cell.doses:  # of the same edits
        edit = 0
    ask = sum(2 * PROBE_TOKENS * 2 for case in task.cases for _ in case.probes) / len(task.cases)
    ask *= len(doses_of(task.cell))
    return len(task.cases) * (edit + ask) * parameters / RATE


def format_estimate(plan: Plan, out: Path, rungs: Sequence[RungEstimate], skipped: Sequence[str]) -> str:
    """The plan and its cost as text."""
    lines = [f"plan {plan.title or plan.ladder}: {plan.hash[:16]}, into {out}", *_described(plan), *skipped]
    for one in rungs:
        source = (
            f"{one.timed:.0%} of cells by earlier runs, the others by a rule" if one.timed else "by a rule, roughly"
        )
        source = "by earlier runs" if one.timed == 1 else source
        seconds = "seconds not known" if isnan(one.seconds) else f"about {one.seconds:,.0f} s ({source})"
        memory = format_plan(one.memory) if one.memory else f"no memory plan: {one.reason}"
        lines += [f"{one.rung}: {one.cells} cells, {one.cases} edits, {seconds}", f"  {memory}"]
    total = sum(one.seconds for one in rungs)
    cells = f"{'at least ' if plan.pareto else ''}{sum(one.cells for one in rungs)} cells"
    lines.append(f"in all {cells}, {'seconds not known' if isnan(total) else f'about {total:,.0f} s'}; nothing was run")
    doses = sum(one.dose_seconds for one in rungs)
    if doses > 0:
        factor = f"{total / (total - doses):.1f} times the cost without them"
        lines.append(f"of that, doses other than 1 take about {doses:,.0f} s, {factor}; --doses 1 leaves them out")
    return "\n".join(lines)


def estimate_json(plan: Plan, out: Path, rungs: Sequence[RungEstimate], skipped: Sequence[str]) -> dict[str, object]:
    """The same as JSON values; null for seconds that are not known."""
    records = [{key: None if value != value else value for key, value in asdict(one).items()} for one in rungs]
    return {"hash": plan.hash, "out": str(out), "plan": plan.fixed(), "rungs": records, "skipped": list(skipped)}


def _described(plan: Plan) -> list[str]:
    edits = ", ".join(f"{e.limit} {e.kind} of {e.dataset}" for e in plan.work())
    seeds = " ".join(map(str, plan.all_seeds()))
    search = plan.search + (" with Pareto front" if plan.pareto else "")
    lines = [f"  ladder {plan.ladder}; {edits}; seeds {seeds}; search {search}; corpus {plan.corpus}"]
    if plan.split is not None:
        lines.append(f"  split: {plan.split.dev:.0%} dev by {' and '.join(plan.split.by)}, seed {plan.split.seed}")
    grids = dict(plan.axes)
    for method in plan.methods:
        axes = " ".join(f"{key}={','.join(map(str, values))}" for key, values in grids.get(method, ()))
        lines.append(f"  {method}: {axes or _unstated(plan, method)}")
    return lines


def _unstated(plan: Plan, method: str) -> str:
    """What is searched of a method for which the plan states no setting."""
    if plan.search == "halving" and method in CONTROLS:
        return "beside the chosen setting"
    whole = plan.search == "halving" and plan.search_rule != FIRST_RULE
    return "every site, lookup and layer" if whole else "default placements"
