"""Parts of a plan in processes of this machine, each taking the next part when it is free."""

from __future__ import annotations

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from benchmarks.sweep.plan import Plan
from benchmarks.sweep.runner import places, run_bench
from benchmarks.sweep.shards import Part, parts

if TYPE_CHECKING:
    from benchmarks.sweep.executors.execute import Workers


@dataclass(frozen=True)
class Parted:
    """Cells that the parts have run, and how long they took together, by the clock."""

    ran: int
    seconds: float


def run_parts(plan: Plan, out: Path, workers: Workers, device: str | None, quiet: bool) -> Parted:
    """Run all parts; a worker that dies ends them early, with one line that says so, and loses nothing that was finished.

    Raises:
        UserError: as `run_bench`.
    """
    began, ran = time.perf_counter(), 0
    wanted = parts(len(places(plan)[0]), workers.count)
    spawn = multiprocessing.get_context("spawn")  # a fork would share the locks of torch's threads
    with (
        ProcessPoolExecutor(min(workers.count, len(wanted)), mp_context=spawn) as pool,
        tqdm(total=len(wanted), unit="part", disable=quiet, file=sys.stderr, dynamic_ncols=True) as bar,
    ):
        futures = [pool.submit(work, plan, out, device, part) for part in wanted]
        try:
            for future in as_completed(futures):
                ran += future.result()
                bar.update()
        except BrokenProcessPool:
            bar.write("a worker died; this process goes on with what is left", file=sys.stderr)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Parted(ran, time.perf_counter() - began)


def work(plan: Plan, out: Path, device: str | None, part: Part) -> int:
    """Run one part in this process; returns the cells it has run."""
    return run_bench(plan, out, device, quiet=True, part=part).ran
