"""How long things take beside each other: A B A B in one process, ratios with their spread, peak memory, matmul peak.

Times are CPU-seconds of the process on a CPU (a shared machine's wall clock says more about its other users) and wall
seconds behind a synchronisation on a GPU.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import click
import torch

from editing.model import processor

CLEAR_PEAK = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
S = TypeVar("S")
F = TypeVar("F")


def on_one_device(command: Callable) -> Callable:
    """The options that all commands that time the engine have: threads, device, and the folder of the tables."""
    options = (
        click.option(
            "--threads",
            default=1,
            type=click.IntRange(1),
            help="CPU threads; with more than one, CPU-seconds are less exact.",
        ),
        click.option("--device", default=None, help="cpu, cuda...  [default: a GPU where there is one]"),
        click.option(
            "--out", type=click.Path(path_type=Path), default=Path("results/speed/cpu"), help="Folder for the tables."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True)
class Ratio:
    """One comparison, a row of the speed table.

    Attributes:
        stage: what was done. unit: what the seconds are per.
        slow, fast: median seconds per unit.
        ratio: median over rounds of slow / fast; low, high: the smallest and the largest of them.
        rounds: how many times A B was run.
        note: what the two results have to do with each other.
        units: how many were done at a time.
    """

    stage: str
    unit: str
    slow: float
    fast: float
    ratio: float
    low: float
    high: float
    rounds: int
    note: str = ""
    units: int = 0

    def as_row(self) -> dict:
        return asdict(self)


def clock(device: torch.device) -> float:
    """CPU-seconds of this process so far; on a GPU wall seconds once its queue is empty."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def timed(device: torch.device, work: Callable[[], S]) -> tuple[float, S]:
    """Seconds of one call (see `clock`) and what it returned."""
    gc.collect()
    began = clock(device)
    result = work()
    return clock(device) - began, result


def compare(
    unit: str,
    slow: Callable[[], S],
    fast: Mapping[str, Callable[[], F]],
    *,
    device: torch.device,
    rounds: int,
    units: int,
    note: Callable[[S, F], str] = lambda a, b: "",
) -> list[Ratio]:
    """`slow`, then each of `fast` (by name), `rounds` times; a call does `units` units of work. One row per name."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in fast}
    notes: dict[str, str] = {}
    for _ in range(rounds):
        a, slow_result = timed(device, slow)
        for name, work in fast.items():
            b, result = timed(device, work)
            seconds[name].append((a / units, b / units))
            notes[name] = note(slow_result, result)
    rows = []
    for name, pairs in seconds.items():
        ratios = sorted(a / b for a, b in pairs)
        slow_median, fast_median = median(a for a, _ in pairs), median(b for _, b in pairs)
        rows.append(
            Ratio(
                name, unit, slow_median, fast_median, median(ratios), ratios[0], ratios[-1], rounds, notes[name], units
            )
        )
    return rows


def peak_memory(device: torch.device, work: Callable[[], object]) -> int | None:
    """Bytes that `work` needed at its peak beyond what was held before; None where the system does not tell."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        CLEAR_PEAK.write_text("5")
        before = _status("VmRSS")
        work()
        return max(_status("VmHWM") - before, 0)
    except OSError:  # no /proc here: the peak of the whole process cannot be reset
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        return grown * 1024 if grown else None


def _status(name: str) -> int:
    """Bytes of one line of the process' status."""
    line = next(x for x in STATUS.read_text(encoding="ascii").splitlines() if x.startswith(name))
    return int(line.split()[1]) * 1024


def matmul_peak(device: torch.device, dtype: torch.dtype, *, size: int = 2048, rounds: int = 5) -> float:
    """Floating-point operations per second (see `clock`) of a square matrix product, the best of some."""
    a = torch.randn(size, size, device=device).to(dtype)
    timed(device, lambda: a @ a)  # the first call chooses a kernel
    return max(2 * size**3 / timed(device, lambda: a @ a)[0] for _ in range(rounds))


def device_name(device: torch.device) -> str:
    """What the device calls itself, and the number of threads on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"
