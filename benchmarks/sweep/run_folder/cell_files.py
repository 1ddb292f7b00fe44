"""The Parquet files of cells: of one cell each, or compacted (`valley/rows/compacted.py`). What is in them, and writing
them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from editing.files import atomic_file
from valley.rows import NOTES, is_compacted, notes_of

KEY = b"editbench"  # key of a cell's note in the schema of its file
GROUP = 131_072  # rows of one row group of a compacted file


def notes_in(file: Path) -> dict[str, dict]:
    """Address -> note (`slot`, `failed`, `settings`) of every cell in a file.

    Raises:
        FileNotFoundError: gone. OSError, ValueError, KeyError, TypeError: damaged, or not such a file.
    """
    if is_compacted(file):
        return notes_of(file)
    return {file.stem: json.loads((pq.read_schema(file).metadata or {})[KEY])}


def cell_table(file: Path, address: str) -> pa.Table:
    """The rows of one cell."""
    return pq.read_table(file, filters=pc.field("cell") == address) if is_compacted(file) else pq.read_table(file)


def write_cell(goal: Path, table: pa.Table, note: Mapping[str, object]) -> None:
    """The file of one cell, whole or not at all."""
    with atomic_file(goal) as temporary:
        pq.write_table(_with_note(table, KEY, note), temporary, compression="zstd")


def without(file: Path, address: str) -> None:
    """Take one cell out of a compacted file, if another process has not; an empty one is removed."""
    notes = notes_of(file) if file.exists() else {}
    if notes.pop(address, None) is None:
        return
    if not notes:
        file.unlink(missing_ok=True)
        return
    table = pq.read_table(file)
    write_tables(file, notes, [table.filter(pc.field("cell") != address)])


def _with_note(table: pa.Table, key: bytes, note: Mapping[str, object]) -> pa.Table:
    about = {name: value for name, value in (table.schema.metadata or {}).items() if name not in (KEY, NOTES)}
    return table.replace_schema_metadata(about | {key: json.dumps(note).encode()})


def write_tables(goal: Path, notes: dict[str, dict], tables: Iterable[pa.Table]) -> None:
    """A compacted file of the rows in `tables`, all of one schema, in row groups of GROUP rows."""
    with atomic_file(goal) as temporary:
        writer, waiting, rows = None, [], 0
        for table in tables:
            table = _with_note(table, NOTES, notes)
            writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
            waiting.append(table)
            rows += len(table)
            if rows >= GROUP:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting, rows = [], 0
        if writer is not None:
            if waiting:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
            writer.close()
