"""`compact RUN`: the many small files of finished cells as a few large ones. Nothing is lost, and the run goes on.

Each cell keeps its rows, its address and its note (`valley/rows/compacted.py`); failed cells, which the next run tries
again, and cells of earlier versions keep their own files. A large file appears whole, then the small ones that it
replaces are removed. What a kill leaves of them is passed over by every reader and removed by the next `compact`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.sweep.run_folder.cell_files import KEY, write_tables
from benchmarks.sweep.store import no_writers
from editing.errors import BadData
from valley.rows import PREFIX, is_compacted, read_run_json, without_leftovers

ROWS = 1_000_000  # of one file, about
ORDER = ("rung_index", "rung", "method", "settings", "edit_kind", "run_seed")  # so that values repeat, and pack well


@dataclass(frozen=True)
class Compacted:
    """What became of a run's files: cells moved into large files, files and bytes before and after."""

    folder: Path
    cells: int
    files_before: int
    files_after: int
    before: int
    after: int


@dataclass(frozen=True)
class _Cell:
    """A finished cell in a separate file. `columns`: its schema as text; only equal ones share a file."""

    file: Path
    note: dict
    rows: int
    columns: str
    order: tuple


def compact(run: Path) -> Compacted:
    """Write the finished cells of a run folder into few files.

    Raises:
        BadData: not a run, a packed one, another process is at work on it, a damaged cell, or the folder cannot be
            written. What was there stays.
    """
    run = Path(run)
    if read_run_json(run).get("packed"):
        raise BadData(f"{run}: a packed run is one file already; nothing to compact")
    cells = run / "cells"
    with no_writers(run):
        files = sorted(cells.glob("*.parquet"))
        before = _size(files)
        kept = set(without_leftovers(files))
        for file in files:
            if file not in kept:
                file.unlink(missing_ok=True)
        single = [cell for file in sorted(kept) if not is_compacted(file) and (cell := _finished(file))]
        for part in _parts(single):
            _write(cells, part)
    after = sorted(cells.glob("*.parquet"))
    return Compacted(run, len(single), len(files), len(after), before, _size(after))


def _size(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _finished(file: Path) -> _Cell | None:
    """What is to be known of a cell's file; None where it is to keep its own file."""
    try:
        about = pq.ParquetFile(file)
        schema = about.schema_arrow
        note = json.loads((schema.metadata or {})[KEY])
        if note["failed"] or "settings" not in note or not about.metadata.num_rows:
            return None
        first = about.read_row_group(0, columns=list(ORDER)).slice(0, 1).to_pylist()[0]
        order = tuple(first[name] for name in ORDER)
        return _Cell(file, note, about.metadata.num_rows, schema.remove_metadata().to_string(), order)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise BadData(f"{file}: not a readable cell ({str(error)[:80]}); delete it and run bench again") from error


def _parts(cells: Sequence[_Cell]) -> list[list[_Cell]]:
    """Cells of equal columns, about ROWS rows together; a part of one cell is none."""
    parts: list[list[_Cell]] = []
    rows, columns = 0, None
    for cell in sorted(cells, key=lambda cell: (cell.columns, cell.order, cell.file.name)):
        if cell.columns != columns or rows >= ROWS:
            parts.append([])
            rows, columns = 0, cell.columns
        parts[-1].append(cell)
        rows += cell.rows
    return [part for part in parts if len(part) > 1]


def _write(folder: Path, cells: Sequence[_Cell]) -> None:
    """One large file of `cells`, then their own files are removed."""
    notes = {cell.file.stem: cell.note for cell in cells}
    name = hashlib.sha256("\n".join(sorted(notes)).encode()).hexdigest()[:24]
    write_tables(folder / f"{PREFIX}{name}.parquet", notes, (pq.read_table(cell.file) for cell in cells))
    for cell in cells:
        cell.file.unlink(missing_ok=True)
