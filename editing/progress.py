"""Progress of long work: a bar on a terminal; elsewhere, as in a log file, one line every 30 seconds; nothing when
quiet."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any, TextIO

from tqdm import tqdm

# Set by the command line's -q; the default shows progress.
QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
SECONDS_BETWEEN_LINES = 30.0
LINE = "{desc}{n_fmt} of {total_fmt} {unit}, {elapsed} elapsed, about {remaining} left{postfix}"


def announce(line: str) -> None:
    """A line about what is being done, on stderr; nothing when quiet."""
    if not QUIET.get():
        print(line, file=sys.stderr)


class _Lines:
    """A text stream that ends every update of a progress bar with a line break instead of overwriting it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self.stream.write(f"{line}\n")

    def flush(self) -> None:
        self.stream.flush()


def progress(
    total: int, text: str = "", unit: str = "steps", *, done: int = 0, leave: bool = True, show: bool = True
) -> Any:
    """A tqdm bar of `total` units on stderr, to be used in a `with` block.

    Args:
        text: what is done, put before the numbers.
        done: units that are there already.
        leave: whether a bar on a terminal stays when it is full.
        show: False shows nothing, as `QUIET` does.
    """
    if QUIET.get() or not show:
        return tqdm(total=total, disable=True)
    about: dict[str, Any] = {"total": total, "desc": text or None, "unit": unit, "initial": done}
    if sys.stderr.isatty():
        return tqdm(**about, leave=leave, file=sys.stderr, dynamic_ncols=True)
    pace: dict[str, Any] = {
        "mininterval": SECONDS_BETWEEN_LINES,
        "maxinterval": SECONDS_BETWEEN_LINES,
        "delay": SECONDS_BETWEEN_LINES,
    }
    return tqdm(**about, leave=False, file=_Lines(sys.stderr), bar_format=LINE, **pace)
