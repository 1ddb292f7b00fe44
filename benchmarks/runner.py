"""The sweep: every cell of a plan that a run folder lacks, one model in memory at a time.

Per rung the model, its strength and its statistics are made once; per rung and edit kind the unedited model is asked
once; every method and setting then pays only for itself. A cell that fails becomes one error row and the sweep goes on;
the next run tries it again.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks.cells import Cell, Plan, canonical, cases_digest, lookups
from benchmarks.datasets import account, read_cases
from benchmarks.ladders import Rung, load_ladder, present_rungs
from benchmarks.measuring import Loaded, cell_records, load_rung, planned, prepare, statistics_of
from benchmarks.models import training_tokens
from benchmarks.probes import with_common_probes
from benchmarks.provenance import commit, versions
from benchmarks.store import RunStore
from editing.errors import OutOfMemory, UserError
from editing.language_model import hash_weights
from editing.memory import format_plan
from editing.methods import make_method
from valley.rows import to_frame

REASON_LENGTH = 300


@dataclass(frozen=True)
class Outcome:
    """What a sweep did, in cells; `failed`, `skipped` (rungs) and `left_out` (records) are one line each."""

    folder: Path
    cells: int
    ran: int
    kept: int
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    left_out: tuple[str, ...]
    seconds: float


def run_bench(plan: Plan, out: Path, device: str | None = None, quiet: bool = False, verbose: bool = False) -> Outcome:
    """Run the missing cells of `plan` into the folder `out`.

    Args:
        device: torch device of the models; None is the best there is.
        quiet: no progress on stderr.
        verbose: print the traceback of a failed cell.

    Raises:
        UserError: something asked for does not exist or the folder cannot be used (both before any work); disk full.
        KeyboardInterrupt: with a message that says what is kept.
    """
    sweep = _Sweep(plan, Path(out), device, quiet, verbose)
    try:
        return sweep.run()
    except KeyboardInterrupt:
        done = f"{sweep.ran + sweep.kept} of {sweep.total} cells are kept in {out}"
        raise KeyboardInterrupt(f"interrupted; {done}; run the same command to go on") from None


class _Sweep:
    """One run of a plan: what is left to do and what became of it."""

    def __init__(self, plan: Plan, out: Path, device: str | None, quiet: bool, verbose: bool) -> None:
        self.plan, self.device, self.quiet, self.verbose = plan, device, quiet, verbose
        self.ladder = load_ladder(plan.ladder)
        self.pairs = plan.pairs()
        found = {(kind, name): read_cases(name, kind, plan.limit, plan.seed) for kind, name in self.pairs}
        self.cases = {pair: with_common_probes(one.cases, plan.probes) for pair, one in found.items()}
        self.left_out = tuple(
            line for (_, name), one in found.items() for line in account(name, one.left_out, one.records, one.notes)
        )
        present, self.skipped = present_rungs(self.ladder)
        self.cells = {i: tuple(self._cells(i, r)) for i, r in enumerate(self.ladder.rungs) if r in present}
        self.total = sum(len(cells) for cells in self.cells.values())
        self.stamp = {"versions": versions(), "commit": commit()}
        self.store = RunStore(out, plan.fixed(), asdict(plan), self.stamp | {"skipped": self.skipped + self.left_out})
        self.ran, self.kept = 0, 0
        self.failed: list[str] = []

    def _cells(self, index: int, rung: Rung) -> Iterator[Cell]:
        for kind, dataset in self.pairs:
            cases = self.cases[kind, dataset]
            where, content = lookups([case.request for case in cases]), cases_digest(cases)
            for method in self.plan.methods:
                for settings in self.plan.settings_grid(method, where):
                    yield Cell(
                        ladder=self.ladder.name,
                        rung=rung.name,
                        rung_index=index,
                        model=rung.model,
                        method=method,
                        settings=canonical(make_method(method, **settings).settings()),
                        edit_kind=kind,
                        dataset=dataset,
                        seed=self.plan.seed,
                        corpus=self.plan.corpus,
                        cases=content,
                    )

    def run(self) -> Outcome:
        began = time.perf_counter()
        for line in () if self.quiet else self.left_out:
            print(line, file=sys.stderr)
        with tqdm(total=self.total, unit="cell", disable=self.quiet, file=sys.stderr, dynamic_ncols=True) as bar:
            elsewhere = {i: self._rung(i, cells, bar, wait=False) for i, cells in self.cells.items()}
            for i, cells in elsewhere.items():  # in work at another process: wait for it, take over if it dies
                self._rung(i, cells, bar, wait=True)
        seconds = time.perf_counter() - began
        done = (self.store.folder, self.total, self.ran, self.kept, tuple(self.failed))
        return Outcome(*done, self.skipped, self.left_out, seconds)

    def _rung(self, index: int, cells: Sequence[Cell], bar: tqdm, wait: bool) -> list[Cell]:
        """Run the missing ones of a rung's cells; returns those that another process is at work on."""
        if not cells:
            return []
        rung, elsewhere = self.ladder.rungs[index], []
        bar.set_description(f"{rung.name} loading")
        try:
            loaded = load_rung(rung.model, self.device, self.plan.corpus, self.plan.seed, self.quiet)
            loaded.columns["training_tokens"] = training_tokens(rung.model, rung.training_tokens)
        except Exception as error:
            self._cannot_load(cells, error, bar)
            return []
        missing = [cell for cell in cells if not self.store.done(cell.address(loaded.lm.weight_hash))]
        if missing:
            try:
                self._fit(missing, loaded, bar)
            except OutOfMemory as error:
                self._cannot_load(cells, error, bar)
                return []
        with suppress(
            Exception
        ):  # only a saving of passes: whatever is wrong fails again in its own cell, with its reason
            prepare(missing, self.cases, loaded)
        for cell in cells:
            address = cell.address(loaded.lm.weight_hash)
            with self.store.claim(address, wait) as mine:
                if self.store.done(address):
                    self.store.keep_only(address, cell.slot())
                    self.kept += 1
                elif not mine:
                    elsewhere.append(cell)
                    continue
                else:
                    bar.set_description(cell.label())
                    self._run_cell(cell, address, loaded)
                    if hash_weights(loaded.lm.module) != loaded.lm.weight_hash:
                        raise RuntimeError(
                            f"{cell.method} left the weights of {cell.rung} changed: a bug in the method"
                        )
            bar.update()
        return elsewhere

    def _fit(self, missing: Sequence[Cell], loaded: Loaded, bar: tqdm) -> None:
        """Batches that leave room for what the missing cells need, said before the work."""
        methods = [make_method(cell.method, **json.loads(cell.settings)) for cell in missing]
        requests = [case.request for key in {(c.edit_kind, c.dataset) for c in missing} for case in self.cases[key]]
        lm, plan = planned(loaded.lm, methods, requests)
        if not self.quiet:
            bar.write(f"{missing[0].rung} {format_plan(plan)}", file=sys.stderr)
        if lm is not loaded.lm:
            loaded.lm, loaded.statistics = lm, statistics_of(lm, self.plan.seed, self.plan.corpus, self.quiet)

    def _run_cell(self, cell: Cell, address: str, loaded: Loaded) -> None:
        try:
            records = cell_records(cell, self.cases[cell.edit_kind, cell.dataset], loaded)
        except Exception as error:
            self._fail(cell, address, error, loaded.columns)
            return
        common = self._common(cell, address) | loaded.columns
        self.store.write(address, cell.slot(), to_frame([common | record for record in records]))
        self.ran += 1

    def _cannot_load(self, cells: Sequence[Cell], error: Exception, bar: tqdm) -> None:
        bar.update(len(cells))
        for cell in cells:
            if self.store.has_result(cell.slot()):  # measured when the model could be loaded
                self.kept += 1
            else:
                self._fail(cell, cell.address(""), error, {})

    def _fail(self, cell: Cell, address: str, error: Exception, columns: dict) -> None:
        if self.verbose:
            traceback.print_exception(error)
        reason = _reason(error)
        row = self._common(cell, address) | columns | {"error": reason}
        self.store.write(address, cell.slot(), to_frame([row]), failed=True)
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
    if outcome.failed:
        lines.append("run the same command again to try the failed ones again")
    return "\n".join(lines)
