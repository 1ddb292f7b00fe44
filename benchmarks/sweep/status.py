"""`status RUN`: how far a run is, from its folder alone, whoever is at work on it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from benchmarks.sweep.run_folder.cell_files import notes_in
from benchmarks.sweep.store import WRITER
from valley.rows import is_compacted, read_run_json, without_leftovers

# The rate is that of the last so many cells: the strong rungs at the end are slower than the weak ones before them.
RECENT = 20
NO_CELL = ("run", "compacted", WRITER)  # beginnings of the names of locks that are no claim of a cell


@dataclass(frozen=True)
class Status:
    """Cells of a run folder by what became of them.

    Attributes:
        expected: of the whole plan; where halving keeps a Pareto front, at least.
        running: claimed by a living process. left: neither done nor running, the failed ones too.
        per_hour, seconds_left: from the times of the last cells; None with fewer than two or with nobody at work.
    """

    folder: str
    expected: int
    done: int
    failed: int
    running: int
    left: int
    unreadable: int
    per_hour: float | None
    seconds_left: float | None
    plan_hash: str
    fixed_at: str
    commit: str


def status(folder: Path) -> Status:
    """Look at a run folder; changes nothing in it.

    Raises:
        BadData: no run there.
    """
    folder = Path(folder)
    about = read_run_json(folder)
    states: dict[str, str] = {}
    times: list[float] = []
    for file in without_leftovers(sorted((folder / "cells").glob("*.parquet"))):
        try:
            if about.get("packed"):
                states |= _in_packed(file)
                continue
            notes = notes_in(file)
            states |= {address: "failed" if note["failed"] else "done" for address, note in notes.items()}
            if not is_compacted(file) and "done" in states[file.stem]:
                times.append(file.stat().st_mtime)
        except FileNotFoundError:  # replaced just now
            continue
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
            states[file.stem] = "unreadable"
    claimed = [lock.stem for lock in (folder / ".locks").glob("*.lock") if not lock.stem.startswith(NO_CELL)]
    running = sum(_held(folder / ".locks" / f"{name}.lock") for name in claimed if states.get(name) != "done")
    count = list(states.values()).count
    expected = max(int(about.get("expected", 0)), count("done"))
    left = max(0, expected - count("done") - running)
    rate = _rate(times)
    return Status(
        str(folder),
        expected,
        count("done"),
        count("failed"),
        running,
        left,
        count("unreadable"),
        rate and round(3600 * rate, 2),
        round((left + running) / rate) if rate and running else None,
        about.get("plan_hash", ""),
        about.get("fixed_at", ""),
        about.get("commit", ""),
    )


def _in_packed(file: Path) -> dict[str, str]:
    """What became of each cell of a packed run, which keeps rows only: one failed where every row of it says so."""
    least = pq.read_table(file, columns=["cell", "error"]).group_by("cell").aggregate([("error", "min")])
    return {row["cell"]: "failed" if row["error_min"] else "done" for row in least.to_pylist()}


def _held(lock: Path) -> bool:
    """Whether a living process holds a claim; one that cannot be examined, in a folder we may not write, counts as
    free."""
    probe = FileLock(lock)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    probe.release()
    return False


def _rate(times: Sequence[float]) -> float | None:
    """Cells per second over the last RECENT finished ones."""
    recent = sorted(times)[-RECENT - 1 :]
    took = recent[-1] - recent[0] if len(recent) > 1 else 0.0
    return (len(recent) - 1) / took if took > 0 else None


def format_status(state: Status) -> str:
    """One line for counts, one for the pace, one for what was requested."""
    counts = f"{state.done} of {state.expected} cells done, {state.failed} failed, {state.running} running"
    lines = [f"{state.folder}: {counts}, {state.left} left"]
    if state.unreadable:
        lines.append(f"{state.unreadable} unreadable; running again replaces them, or names what must be restored")
    if state.per_hour is not None and (state.left or state.running):
        when = "nobody is at work on it"
        if state.seconds_left is not None:
            ready = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + state.seconds_left))
            when = f"ready in about {state.seconds_left:,.0f} s ({ready})"
        lines.append(f"{state.per_hour:,.1f} cells per hour; {when}")
    lines.append(f"plan {state.plan_hash[:16] or 'not hashed'}, fixed {state.fixed_at or 'at an unknown time'}")
    return "\n".join(lines)
