"""Long runs on the largest model: 1,000 ROME edits, a MEMIT edit of 1,000 facts, 3,000 AlphaEdit edits in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from benchmarks.speed.device.models import Bench
from benchmarks.speed.device.rates import edit, fitting
from benchmarks.speed.device.record import Deadline, OutOfTime, Row
from benchmarks.speed.stopwatch import clock, timed
from editing.methods import FAST, Step, apply_sequence

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "fast": FAST,
    "fast, Gauss-Newton": {**FAST, "optimiser": "gauss_newton"},
}
SLICE, IN_SEQUENCE = 64, 100


def mass(make: Callable[[], Bench], singles: int, sequence: int, deadline: Deadline) -> Iterator[Row]:
    """`singles` edits by ROME and by MEMIT, and `sequence` by AlphaEdit, as many as the time allows."""
    bench = make()
    parts = 2 * len(VARIANTS) + 2
    for i, (label, settings) in enumerate(VARIANTS.items()):
        yield _rome(bench, label, settings, singles, Deadline(deadline.left() / (parts - i)))
    for i, (label, settings) in enumerate(VARIANTS.items(), len(VARIANTS)):
        yield _memit(bench, label, settings, singles, Deadline(deadline.left() / (parts - i)))
    yield from _alphaedit(bench, sequence, deadline)


def _rome(bench: Bench, label: str, settings: Mapping[str, Any], number: int, deadline: Deadline) -> Row:
    """Single edits, SLICE at a time."""
    method = bench.method("rome", **settings)
    method.prepare(bench.lm, bench.requests[:1], bench.statistics)
    began, done = clock(bench.lm.device), 0
    while done < number and (not done or deadline.left() > 0):
        count = min(SLICE, number - done)
        method.each(bench.lm, bench.requests[done : done + count], bench.statistics)
        done += count
    seconds = clock(bench.lm.device) - began
    return Row(f"ROME, {label}: {number:,} single edits", done, seconds / done, unit="edit", note=_done(done, number))


def _memit(bench: Bench, label: str, settings: Mapping[str, Any], number: int, deadline: Deadline) -> Row:
    """One joint edit, of as many facts as a first, small one says will fit."""
    method = bench.method("memit", **settings)
    method.prepare(bench.lm, bench.requests[:1], bench.statistics)
    small = min(SLICE, number)
    first, _ = timed(bench.lm.device, lambda: edit(bench, method, small))
    fits = number if first <= 0 else max(small, min(number, int(deadline.left() / first * small)))
    seconds, _ = (first, None) if fits == small else timed(bench.lm.device, lambda: edit(bench, method, fits))
    what = f"MEMIT, {label}: one edit of {number:,} facts"
    return Row(what, fits, seconds / fits, unit="edit", note=_done(fits, number))


def _alphaedit(bench: Bench, number: int, deadline: Deadline) -> Iterator[Row]:
    """A sequence, IN_SEQUENCE edits at a time."""
    settings, note = fitting(bench, "alphaedit", deadline)
    method = bench.method("alphaedit", **settings, **FAST)
    seconds, _ = timed(
        bench.lm.device,
        lambda: [bench.statistics.spectrum(s) for s in method.edited_sites(bench.lm, bench.requests[0])],
    )
    yield Row("AlphaEdit: spectra, once per model, that no row above has made", seconds=seconds, note=note)
    began, done = clock(bench.lm.device), 0
    last = began

    def on_step(step: Step) -> None:
        nonlocal done, last
        done, last = step.done, clock(bench.lm.device)
        if deadline.left() <= 0:
            raise OutOfTime

    with suppress(OutOfTime):
        apply_sequence(
            bench.lm, method, bench.requests[:number], bench.statistics, batch=min(IN_SEQUENCE, number), on_step=on_step
        )
    what = f"AlphaEdit, fast: {number:,} edits, {min(IN_SEQUENCE, number)} at a time"
    yield Row(what, done, (last - began) / max(done, 1), unit="edit", note=_done(done, number))


def _done(done: int, number: int) -> str:
    return "all" if done == number else f"{done:,} of {number:,} in the time there was"
