"""Parts of a measurement, each with its own seconds: what they measured is on disk after every row, also when one
fails or is cut off."""

from __future__ import annotations

import json
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from editing.files import atomic_file

JSON, TABLE = "gpu.json", "README.md"
GRACE = 10.0  # seconds that a row may take beyond the end of its part


class OutOfTime(BaseException):
    """The seconds of a part are used up; no handler of errors on the way takes it for one."""


class Deadline:
    """So many seconds from now on, no more than `within` has left."""

    def __init__(self, seconds: float, within: Deadline | None = None) -> None:
        self.end = time.monotonic() + (seconds if within is None else min(seconds, within.left()))

    def left(self) -> float:
        """Seconds, negative when the time is up."""
        return self.end - time.monotonic()


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was done. number: how many at a time.
        seconds: per unit, ours. literal: per unit, the literal reference. unit: what both are per.
        share: of the measured peak of matrix products.
        ok: whether a check holds.
        note: how it was done, or why it was not.
    """

    what: str
    number: int | None = None
    seconds: float | None = None
    literal: float | None = None
    unit: str = ""
    share: float | None = None
    ok: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.literal / self.seconds if self.literal and self.seconds else None


@dataclass(frozen=True)
class Part:
    """A measurement: its name, its seconds, and a function that yields its rows and looks at the deadline between."""

    name: str
    seconds: float
    rows: Callable[[Deadline], Iterator[Row]]


def run(parts: Sequence[Part], about: Mapping[str, Any], out: Path, total: float) -> dict[str, Any]:
    """Every part in turn, at most `total` seconds in all; the record, which is written to `out` after every row.

    A part that fails leaves its error in the record, and the next one begins.
    """
    record: dict[str, Any] = {**about, "parts": []}
    whole = Deadline(total)
    for part in parts:
        entry: dict[str, Any] = {"part": part.name, "budget": part.seconds, "seconds": 0.0, "error": "", "rows": []}
        record["parts"].append(entry)
        began = time.monotonic()
        if whole.left() <= 0:
            entry["error"] = f"left out: the {total:.0f} seconds of the whole run were used up"
        else:
            _fill(part, entry, Deadline(part.seconds, whole), lambda: write(record, out))
        entry["seconds"] = round(time.monotonic() - began, 2)
        write(record, out)
    return record


def _fill(part: Part, entry: dict[str, Any], deadline: Deadline, save: Callable[[], None]) -> None:
    """The rows of one part, or its error, into `entry`."""
    rows = part.rows(deadline)
    try:
        with _alarm(deadline.left() + GRACE):
            for row in rows:
                entry["rows"].append(asdict(row) | {"ratio": row.ratio})
                save()
                if deadline.left() <= 0:
                    raise OutOfTime
    except OutOfTime:
        entry["error"] = f"cut off: its {part.seconds:.0f} seconds were used up; later rows are missing"
    except Exception as error:
        entry["error"] = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
        entry["traceback"] = traceback.format_exc()


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise OutOfTime inside after `seconds`, at the next step of Python code; on the main thread only."""

    def ring(number: int, frame: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def write(record: Mapping[str, Any], out: Path) -> None:
    """`record` as JSON and as a table."""
    with atomic_file(out / JSON) as path:
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    with atomic_file(out / TABLE) as path:
        path.write_text(table(record), encoding="utf-8")


def table(record: Mapping[str, Any]) -> str:
    """The record as Markdown."""
    lines = [
        f"# Speed on {record['device']}",
        "",
        f"Written by `python -m benchmarks.speed.gpu --shapes {record['shapes']}` (commit {record['commit'][:12]}, "
        f"torch {record['versions']['torch']}, transformers {record['versions']['transformers']}). Seconds are "
        f"{record['seconds are']} seconds; the literal way is tests/editing/reference*.py on the same device.",
    ]
    for part in record["parts"]:
        lines += [
            "",
            f"## {part['part']}",
            "",
            f"{part['seconds']:.0f} of {part['budget']:.0f} s. {part['error']}".strip(),
        ]
        if part["rows"]:
            lines += ["", "| what | at a time | s, ours | s, literal | ratio | of peak | note |"]
            lines += ["|---|---:|---:|---:|---:|---:|---|", *map(_line, _one_line_a_subject(part["rows"]))]
    return "\n".join(lines) + "\n"


def _one_line_a_subject(rows: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The checks "SUBJECT: WHAT" of one subject that hold, as one row; every other row as it is."""

    def subject(row: Mapping[str, Any]) -> str:
        return row["what"].partition(": ")[0] if row["ok"] else ""

    for name, group in groupby(rows, subject):
        if not name:
            yield from group
            continue
        held = list(group)
        checks = [row["what"].removeprefix(f"{name}: ") + f" ({row['note']})" * bool(row["note"]) for row in held]
        yield held[0] if len(held) == 1 else {**held[0], "what": name, "note": "; ".join(checks)}


def _line(row: Mapping[str, Any]) -> str:
    held = {None: "", True: "holds", False: "FAILS"}[row["ok"]]
    note = "; ".join(part for part in (held, row["note"]) if part).replace("|", "/")
    unit = f" per {row['unit']}" if row["unit"] else ""
    cells = [
        row["what"], str(row["number"] or ""), _number(row["seconds"]) + (unit if row["seconds"] else ""),
        _number(row["literal"]), f"{row['ratio']:.1f}x" if row["ratio"] else "",
        f"{row['share']:.1%}" if row["share"] else "", note,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
