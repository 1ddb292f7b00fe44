"""How long cells took on this machine: kept in the cache, read where a plan's cost is estimated."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.sweep.cell import Cell
from editing.cache import cache_root
from editing.files import atomic_file, digest


def remember(cell: Cell, seconds: float) -> None:
    """Keep what a case of `cell` took; the newest measurement replaces older ones."""
    with atomic_file(_file(cell)) as temp:
        temp.write_text(json.dumps({"seconds_per_case": seconds}), encoding="utf-8")


def recall(cell: Cell) -> float | None:
    """Seconds that a case of such a cell (model, method, setting, kind of edit, data set) took; None where none has
    run."""
    try:
        return float(json.loads(_file(cell).read_text("utf-8"))["seconds_per_case"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file(cell: Cell) -> Path:
    about = [cell.model, cell.method, cell.settings, cell.edit_kind, cell.dataset]
    name = digest([*about, cell.doses] if cell.doses else about)
    return cache_root() / "timings" / f"{name[:32]}.json"
