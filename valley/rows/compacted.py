"""Compacted cells: many finished cells of a run folder in one Parquet file, which `compact` writes and readers know.

The file `cells/compact-HASH.parquet` holds the rows of its cells (the column `cell` distinguishes them) and, in its
schema, the note of each cell. A file of a single cell that a compacted file holds too is what a killed `compact` left
behind: readers pass over it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from editing.lazy import parquet as pq

PREFIX = "compact-"
NOTES = b"editbench-cells"  # key in the schema of a compacted file: {address: note}, notes as in a cell's own file


def is_compacted(file: Path) -> bool:
    """Whether a Parquet file of a run folder is a compacted one, by its name."""
    return file.name.startswith(PREFIX)


def notes_of(file: Path) -> dict[str, dict]:
    """Address -> note of the cells in a compacted file.

    Raises:
        OSError, ValueError, KeyError: not readable as such a file.
    """
    return json.loads((pq.read_schema(file).metadata or {})[NOTES])


def without_leftovers(files: Iterable[Path]) -> list[Path]:
    """`files` but those of single cells that a compacted file among them holds too."""
    files = list(files)
    held: set[str] = set()
    for file in filter(is_compacted, files):
        try:
            held |= notes_of(file).keys()
        except (OSError, ValueError, KeyError):  # whoever reads its rows says what is wrong with it
            continue
    return [file for file in files if is_compacted(file) or file.stem not in held]
