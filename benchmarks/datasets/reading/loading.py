"""How a loader that makes drafts of single records reads a whole file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.datasets.reading.case_set import CaseSet
from benchmarks.datasets.reading.drafts import Draft, assemble, collect
from benchmarks.datasets.reading.records import Place, read_records

Parse = Callable[[Place, dict[str, Any]], Sequence[Draft]]


def read_file(dataset: str, path: Path, parse: Parse, seed: int, limit: int | None = None) -> CaseSet:
    """The cases of one file whose records each make one draft or several.

    Raises:
        BadData: the file cannot be read, or more of its records are bad than good.
    """
    rows = read_records(path)
    found, left = collect(str(path), rows, parse)
    return assemble(dataset, path, list(chain.from_iterable(found)), left, len(rows), seed, limit)
