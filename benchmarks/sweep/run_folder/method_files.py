"""Cells whose method's file has been changed since they were made: they stay, and are counted."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from benchmarks.sweep.run_folder.cell_files import notes_in
from editing.methods import method_file, method_names
from valley.rows import without_leftovers


def changed_methods(folder: Path) -> list[str]:
    """A line per method that has cells in the run folder made by another version of the file that defines it.

    A method within a wrapper is not looked at, nor is what the file imports. Cells from before this was noted count as
    unchanged.
    """
    found: Counter[str] = Counter()
    for file in without_leftovers(sorted((folder / "cells").glob("*.parquet"))):
        with suppress(pa.ArrowException, OSError, KeyError, ValueError, TypeError):  # damaged: `bench` has said so
            for note in notes_in(file).values():
                name = note.get("method", "")
                if name in method_names() and note["method_file"] != method_file(name)[1]:
                    found[name] += 1
    return [
        f"{count} cells of {name} were made by another version of {method_file(name)[0]} and are kept; "
        "a new --out measures them again"
        for name, count in sorted(found.items())
    ]
