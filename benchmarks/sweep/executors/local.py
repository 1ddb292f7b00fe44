"""Parts of a plan in processes of this machine, each taking the next part when it is free."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import util
from pathlib import Path

from benchmarks.sweep.executors.workers import Workers
from benchmarks.sweep.planning.plan import Plan
from benchmarks.sweep.runner import run_bench
from benchmarks.sweep.search.place import places
from benchmarks.sweep.shards import Part, parts
from editing.progress import progress

INTERRUPTED = 130


@dataclass(frozen=True)
class Parted:
    """Cells that the parts have run, and how long they took together, in wall seconds."""

    ran: int
    seconds: float


def run_parts(plan: Plan, out: Path, workers: Workers, device: str | None, quiet: bool) -> Parted:
    """Run all parts; a worker that dies ends them early, with one line that says so, and loses nothing that was
    finished.

    Raises:
        UserError: as `run_bench`.
    """
    began, ran = time.perf_counter(), 0
    pieces = parts(len(places(plan)[0]), workers.count)
    spawn = multiprocessing.get_context("spawn")  # a fork would share the locks of torch's threads
    count = min(workers.count, len(pieces))
    numbers = spawn.Queue()
    for number in range(count):
        numbers.put(number)
    with (
        ProcessPoolExecutor(count, mp_context=spawn, initializer=_bind, initargs=(numbers, count, device)) as pool,
        progress(len(pieces), unit="parts", show=not quiet) as bar,
    ):
        others = multiprocessing.active_children()
        try:
            with _interrupts_held():
                futures = [pool.submit(_part, plan, out, device, part) for part in pieces]
            for future in as_completed(futures):
                ran += future.result()
                bar.update()
        except BrokenProcessPool:
            bar.write("a worker died; this process goes on with what is left", file=sys.stderr)
        except BaseException:
            for worker in multiprocessing.active_children():
                if worker not in others and worker.pid:  # a terminal interrupts them as well, `kill -INT` does not
                    with suppress(ProcessLookupError):
                        os.kill(worker.pid, signal.SIGINT)
            pool.shutdown(cancel_futures=True)
            raise
    return Parted(ran, time.perf_counter() - began)


def _bind(numbers: multiprocessing.Queue, count: int, device: str | None) -> None:
    """Give this worker its share of the machine: its GPU, and its part of the cores."""
    import torch

    number = numbers.get()
    gpus, variable = torch.cuda.device_count(), "CUDA_VISIBLE_DEVICES"
    if gpus and device in (None, "cuda"):
        os.environ[variable] = gpu_of(number, gpus, os.environ.get(variable, ""))
    torch.set_num_threads(min(torch.get_num_threads(), threads_of(count, usable_cores())))


def usable_cores() -> int:
    """Cores that this process may use; all of the machine where the system does not say which (macOS, Windows)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu_of(number: int, gpus: int, visible: str = "") -> str:
    """The GPU of worker `number` (from 0), in turn, out of those that are `visible` (as in CUDA_VISIBLE_DEVICES; empty:
    all)."""
    names = [name.strip() for name in visible.split(",") if name.strip()] or [str(i) for i in range(gpus)]
    return names[number % len(names)]


def threads_of(count: int, cores: int) -> int:
    """Threads of each of `count` workers."""
    return max(1, cores // count)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process started in the block holds SIGINT back until it unblocks it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _part(plan: Plan, out: Path, device: str | None, part: Part) -> int:
    """`work` in a worker. An interrupt ends the worker without a traceback, and before it takes another part."""
    signal.signal(signal.SIGINT, _interrupt_once)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return work(plan, out, device, part)
    except KeyboardInterrupt:
        # as a process of multiprocessing ends: its semaphores are given back
        util._exit_function()  # pyright: ignore[reportAttributeAccessIssue]
        os._exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a worker without work has nothing to interrupt


def _interrupt_once(number: int, frame: object) -> None:
    """A second interrupt must not stop what the first one puts in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def work(plan: Plan, out: Path, device: str | None, part: Part) -> int:
    """Run one part in this process; returns the cells it has run."""
    return run_bench(plan, out, device, quiet=True, part=part).ran
