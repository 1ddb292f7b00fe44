"""The sweep: every cell of a plan that a run folder lacks, one model in memory at a time.

Per rung the model, its strength and its statistics are made once; per cases the unedited model is queried once; every
method and setting then pays only for itself. What is measured next, `search/schedule.py` says from what is in the
folder. A cell that fails becomes one error row and the sweep goes on; the next run tries it again.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.measure import half_agreement, known_hash, planned, remember_hash, statistics_of
from benchmarks.models import training_tokens
from benchmarks.provenance import commit, machine, versions
from benchmarks.sweep.cell import Cell, Task
from benchmarks.sweep.cell_work import Loaded, cell_records, load_rung, prepare
from benchmarks.sweep.extension import chain_of
from benchmarks.sweep.planning.plan import ADAPTIVE, Plan
from benchmarks.sweep.search.adaptive import needed_soon
from benchmarks.sweep.search.place import Place, places, recorded
from benchmarks.sweep.search.schedule import steps, walk
from benchmarks.sweep.search.search_points import Point, judge
from benchmarks.sweep.shards import Part, Shard
from benchmarks.sweep.store import RunStore
from benchmarks.sweep.timings import remember
from benchmarks.watch import Watch
from editing.errors import BadData, OutOfMemory, UserError
from editing.files import canonical, digest
from editing.lazy import pandas as pd
from editing.methods import make_method, method_file
from editing.model import check_device, format_plan, hash_weights, weight_versions
from editing.progress import QUIET, progress
from valley.rows import run_record, store_plan, to_frame

REASON_LENGTH = 300


@dataclass(frozen=True)
class Outcome:
    """What a sweep did, in cells; `failed`, `skipped` (rungs) and `left_out` (records) are one line each.
    `development`: per rung and edit kind, how many known development cases its settings were chosen on."""

    folder: Path
    cells: int
    ran: int
    kept: int
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    left_out: tuple[str, ...]
    seconds: float
    development: dict[str, dict[str, int]] = field(default_factory=dict)


def run_bench(
    plan: Plan,
    out: Path,
    device: str | None = None,
    quiet: bool = False,
    verbose: bool = False,
    part: Part | Shard | None = None,
    retry: bool = True,
    watch: Watch | None = None,
) -> Outcome:
    """Run the missing cells of `plan` into the folder `out`.

    Args:
        device: torch device of the models; None is the best there is.
        quiet: no progress on stderr.
        verbose: print the traceback of a failed cell.
        part: only this part of the sweep; None is all of it.
        retry: whether cells that failed before are tried again, or only counted as failed.
        watch: records what the stages of the sweep take.

    Raises:
        UserError: something requested does not exist or the folder cannot be used (both before any work); disk full.
        KeyboardInterrupt: with a message that says what is kept.
    """
    sweep = _Sweep(plan, Path(out), device, quiet, verbose, part, retry, watch or Watch())
    try:
        return sweep.run()
    except KeyboardInterrupt:
        done = f"{sweep.ran + sweep.kept} of {sweep.total} cells are kept in {out}"
        raise KeyboardInterrupt(f"interrupted; {done}; run the same command to go on") from None
    finally:
        sweep.store.close()


class _Sweep:
    """One run of a plan: what is left to do and what became of it."""

    def __init__(
        self,
        plan: Plan,
        out: Path,
        device: str | None,
        quiet: bool,
        verbose: bool,
        part: Part | Shard | None,
        retry: bool,
        watch: Watch,
    ) -> None:
        self.plan, self.device, self.quiet, self.verbose, self.retry = plan, device, quiet, verbose, retry
        self.watch, self.silent = watch, quiet or QUIET.get()  # what is left out is said under -q too
        check_device(device)
        with watch("cases"):
            about = run_record(out)
            chain = chain_of(out, plan.fixed(), about, plan.extend)
            self.places, self.skipped, self.left_out = places(plan, about, chain.plans)
        self.extension = chain.name
        whole = [sum(len(tasks) for tasks in walk(place)) for place in self.places]
        self.part = part.part(len(self.places)) if isinstance(part, Shard) else part
        if self.part:
            self.places = [self.places[i] for i in self.part.rungs]
        self.total = sum(len(tasks) for place in self.places for tasks in walk(place, self.part))
        self.stamp = {"versions": versions(), "commit": commit()}
        about = self.stamp | {"machine": machine(), "skipped": self.skipped + self.left_out, "expected": sum(whole)}
        about |= {"plan_hash": digest(chain.plans[0]), **recorded(plan, run_record(out))}
        request = asdict(plan)
        if not plan.analysis:
            request.pop("analysis")
        for key in ("budget", "starts", "tests"):
            if not getattr(plan, key):
                request.pop(key)
        if overrides := request.pop("overrides"):
            about["overrides"] = {option: {"plan": stated, "taken": taken} for option, stated, taken in overrides}
        self.store = RunStore(out, chain.plans[0], request, about, chain.entry)
        if plan.analysis:
            store_plan(out, dict(plan.analysis))
        self.ran, self.kept = 0, 0
        self.seen: set[str] = set()
        self.failed: list[str] = []
        self.development: dict[str, dict[str, int]] = {}

    def run(self) -> Outcome:
        began = time.perf_counter()
        for line in () if self.quiet else self.left_out:
            print(line, file=sys.stderr)
        with progress(self.total, unit="cells", show=not self.quiet) as bar:
            unfinished = [place for place in self.places if not self._rung(place, bar, wait=False)]
            for place in unfinished:  # in work at another process: wait for it, take over if it dies
                self._rung(place, bar, wait=True)
        seconds = time.perf_counter() - began
        cells = self.ran + self.kept + len(self.failed)
        if self.part is None:  # what a search really took: a failed setting takes less, a Pareto front more
            self.store.note(expected=cells)
        if self.development:
            self.store.note(known_development=self.development)
        done = (self.store.folder, cells, self.ran, self.kept, tuple(self.failed))
        return Outcome(*done, self.skipped, self.left_out, seconds, self.development)

    def _rung(self, place: Place, bar: Any, wait: bool) -> bool:
        """Run the missing cells of a rung, step by step; False where another process is at work on one of a step."""
        rung, schedule = place.rung, steps(place, self.part)
        tasks = next(schedule)
        if not tasks:
            return True
        known = known_hash(rung.model)
        if known and self._finished(place, known, bar):
            self.store.drop_unloaded(rung.name)
            return True
        bar.set_description(f"{rung.name} loading")
        first = self.plan.all_seeds()[0]
        try:
            loaded = load_rung(rung.model, self.device, self.plan.corpus, first, self.quiet, self.watch)
            loaded.columns["training_tokens"] = training_tokens(rung.model, rung.training_tokens)
            if loaded.lm.n_layers != place.n_layers:  # not known before, so that the settings were not either
                place = replace(place, n_layers=loaded.lm.n_layers)
                schedule = steps(place, self.part)
                tasks = next(schedule)
        except Exception as error:
            self._cannot_load(tasks, error, bar)
            return True
        model, ran = loaded.lm.weight_hash, self.ran
        remember_hash(rung.model, model)
        self.store.drop_unloaded(rung.name)
        if self.plan.evaluation:
            self._note_agreement(loaded, bar)
        seeds = {first: loaded}
        for seed in self.plan.all_seeds()[1:]:
            statistics = statistics_of(loaded.lm, seed, self.plan.corpus, self.quiet)
            seeds[seed] = replace(loaded, statistics=statistics, bases={})
        reported: set[str] = set()
        soon = needed_soon(place) if self.plan.search == ADAPTIVE else []
        while True:
            self._rename_earlier(tasks, model)
            missing = [task for task in tasks if self._open(task.cell, task.cell.address(model))]
            try:
                if missing:
                    self._fit(missing, seeds, bar, reported)
            except OutOfMemory as error:
                self._cannot_load(tasks, error, bar)
                return True
            for seed, tasks_of_seed in seeds.items():
                with suppress(
                    Exception
                ):  # only a saving of passes: what is wrong fails again in its cell, with its reason
                    needed = (*missing, *soon) if missing else ()
                    prepare([task for task in needed if task.cell.seed == seed], tasks_of_seed)
                note = tasks_of_seed.statistics.format()
                if note and note not in reported and not self.silent:
                    reported.add(note)
                    bar.write(f"{rung.name} {note}", file=sys.stderr)
            soon = [] if missing else soon
            taken = [task for task in tasks if not self._cell(task, seeds[task.cell.seed], bar, wait=False)]
            if taken and not wait:
                return False
            for task in taken:  # only once nothing else of this step is left to do
                self._cell(task, seeds[task.cell.seed], bar, wait=True)
            try:
                tasks = schedule.send(lambda measured: self._read(measured, model))
            except StopIteration:
                if self.ran > ran:
                    self._check_weights(loaded, "+".join(self.plan.methods))
                return True

    def _note_agreement(self, loaded: Loaded, bar: Any) -> None:
        """Keep in run.json, and say, how far the bfloat16 copy is from the model."""
        agreement = half_agreement(loaded.lm)
        self.store.note(agreement={loaded.lm.name: asdict(agreement)})
        if not self.silent:
            bar.write(f"{loaded.lm.name}: {agreement.line()}", file=sys.stderr)

    def _check_weights(self, loaded: Loaded, method: str) -> None:
        with self.watch("checking weights"):
            unchanged = hash_weights(loaded.lm.module) == loaded.lm.weight_hash
        if not unchanged:
            raise RuntimeError(f"{method} left the weights of {loaded.lm.name} changed: a bug in the method")

    def _finished(self, place: Place, model: str, bar: Any) -> bool:
        """Whether every cell of a rung whose weights have this hash is there; they are then counted. Loads nothing."""
        schedule, cells = steps(place, self.part), {}
        tasks = next(schedule)
        while True:
            self._rename_earlier(tasks, model)
            for cell, _ in tasks:
                address = cell.address(model)
                if not self._done(cell, address):
                    return False
                cells[address] = cell
            try:
                tasks = schedule.send(lambda measured: self._read(measured, model))
            except StopIteration:
                break
        for address, cell in cells.items():
            self.store.keep_only(address, cell.slot())
        self.kept += len(cells.keys() - self.seen)
        self.seen |= cells.keys()
        bar.update(len(cells))
        return True

    def _rename_earlier(self, tasks: Sequence[Task], model: str) -> None:
        """Name the files of earlier versions that hold these tasks by today's addresses (see
        `benchmarks/sweep/cell.py`)."""
        for stored in self.store.earlier_settings():
            for cell, _ in tasks:
                if cell.has_settings(stored):
                    old = cell.address(model, stored), cell.slot(stored)
                    self.store.rename(old, (cell.address(model), cell.slot()))

    def _done(self, cell: Cell, address: str) -> bool:
        """Whether the cell is finished, with the settings that it has today."""
        return self.store.done(address) and cell.has_settings(self.store.settings(address))

    def _open(self, cell: Cell, address: str) -> bool:
        """Whether a cell is still to be run."""
        return not self._done(cell, address) and (self.retry or not self.store.failed(address))

    def _read(self, tasks: Sequence[Task], model: str) -> Point:
        tables = [self.store.read(task.cell.address(model)) for task in tasks]
        point = judge(pd.concat(tables), self.places[0].choices.rule) if tables else Point()
        for cell, _ in tasks[:1]:
            counts = self.development.setdefault(cell.rung, {})
            counts[cell.edit_kind] = max(point.known, counts.get(cell.edit_kind, 0))
        return point

    def _cell(self, task: Task, loaded: Loaded, bar: Any, wait: bool) -> bool:
        """Run one cell unless it is there; False when another process is at work on it."""
        cell, address = task.cell, task.cell.address(loaded.lm.weight_hash)
        with self.store.claim(address, wait) as claimed:
            if self._done(cell, address):
                self.store.keep_only(address, cell.slot())
                self.kept += address not in self.seen
            elif not claimed:
                return False
            elif not self._open(cell, address):
                self.failed.append(f"{cell.label()}: {self.store.read(address)['error'].iloc[0]}")
            elif address not in self.seen:  # a cell that has failed in this run is not tried twice
                bar.set_description(cell.label())
                before = weight_versions(loaded.lm.module)
                self._run_cell(task, address, loaded)
                if weight_versions(loaded.lm.module) != before:  # written in place, and perhaps put back
                    self._check_weights(loaded, cell.method)
            bar.update(address not in self.seen)
            self.seen.add(address)
        return True

    def _fit(self, missing: Sequence[Task], seeds: Mapping[int, Loaded], bar: Any, reported: set[str]) -> None:
        """Batches that leave room for what the missing cells need, said before the work."""
        methods = [make_method(cell.method, **json.loads(cell.settings)) for cell, _ in missing]
        requests = [
            case.request for cases in {task.cell.cases: task.cases for task in missing}.values() for case in cases
        ]
        before = next(iter(seeds.values())).lm
        lm, plan = planned(before, methods, requests, self.plan.evaluation is not None)
        if not self.silent and not reported:
            reported.add(f"{missing[0].cell.rung} {format_plan(plan)}")
            bar.write(*reported, file=sys.stderr)
        if lm is not before:
            for seed, loaded in seeds.items():
                loaded.lm, loaded.statistics = lm, statistics_of(lm, seed, self.plan.corpus, self.quiet)

    def _run_cell(self, task: Task, address: str, loaded: Loaded) -> None:
        cell, began = task.cell, time.perf_counter()
        try:
            with self.watch(cell.method):
                records = cell_records(cell, task.cases, loaded)
        except Exception as error:
            self._fail(cell, address, error, loaded.columns)
            return
        common = self._common(cell, address) | loaded.columns
        with self.watch(cell.method), self.watch("writing"):
            rows, made_by = to_frame([common | record for record in records]), method_file(cell.method)[1]
            self.store.write(address, cell.slot(), rows, method=cell.method, method_file=made_by)
        with suppress(BadData):  # only an estimate of later runs hangs on it
            remember(cell, (time.perf_counter() - began) / len(task.cases))
        self.ran += 1

    def _cannot_load(self, tasks: Sequence[Task], error: Exception, bar: Any) -> None:
        bar.update(len(tasks))
        self._rename_earlier(tasks, "")
        for cell, _ in tasks:
            if self.store.has_result(cell.slot()):  # measured when the model could be loaded
                self.kept += 1
            else:
                self._fail(cell, cell.address(""), error, {}, unloaded=cell.rung)

    def _fail(self, cell: Cell, address: str, error: Exception, columns: dict, **note: str) -> None:
        if self.verbose:
            traceback.print_exception(error)
        reason = _reason(error)
        row = self._common(cell, address) | columns | {"error": reason}
        self.store.write(address, cell.slot(), to_frame([row]), failed=True, **note)
        self.failed.append(f"{cell.label()}: {reason}")

    def _common(self, cell: Cell, address: str) -> dict:
        return {
            "cell": address,
            "ladder": cell.ladder,
            "rung": cell.rung,
            "rung_index": cell.rung_index,
            "run_seed": cell.seed,
            "model": cell.model,
            "method": cell.method,
            "settings": cell.settings,
            "edit_kind": cell.edit_kind,
            "dataset": cell.dataset,
            "extension": self.extension,
            "versions": canonical(self.stamp["versions"]),
            "commit": self.stamp["commit"],
        }


def _reason(error: Exception) -> str:
    """One line for the error column: a user's mistake as worded, anything else with its type."""
    lines = str(error).strip().splitlines() or ["no message"]
    return (lines[0] if isinstance(error, UserError) else f"{type(error).__name__}: {lines[0]}")[:REASON_LENGTH]


def format_outcome(outcome: Outcome) -> str:
    """The outcome as text for a terminal."""
    lines = list(outcome.skipped)
    lines += [f"failed: {line}" for line in outcome.failed]
    count = f"{outcome.cells} cells: {outcome.ran} run, {outcome.kept} were there, {len(outcome.failed)} failed"
    lines.append(f"{outcome.folder}: {count}, in {outcome.seconds:.0f} s")
    lines += _unequal(outcome.development)
    if outcome.failed:
        lines.append("run the same command again to try the failed ones again")
    return "\n".join(lines)


def _unequal(development: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A line per edit kind whose settings were chosen on unlike numbers of known cases at different rungs."""
    lines = []
    for kind in dict.fromkeys(kind for counts in development.values() for kind in counts):
        counts = {rung: of[kind] for rung, of in development.items() if kind in of}
        least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if counts[least] < counts[most]:
            span = f"from {counts[least]} ({least}) to {counts[most]} ({most})"
            lines.append(f"{kind}: settings were chosen on {span} known development cases, less surely where fewer")
    return lines
