"""`merge RUN... --out DIR`: the cells of several folders of one plan, as one run folder that can be gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from benchmarks.sweep.run_folder.cell_files import notes_in
from benchmarks.sweep.store import RunStore, joined
from editing.errors import BadData
from valley.rows import read_run_json, unequal_keys, without_leftovers


@dataclass(frozen=True)
class Merged:
    """What became of the cells: those taken, and those of which another folder had a better or the same one."""

    folder: Path
    taken: int
    duplicates: int
    failed: int


@dataclass(frozen=True)
class _Found:
    file: Path
    address: str
    note: dict

    @property
    def slot(self) -> str:
        return self.note["slot"]

    @property
    def failed(self) -> bool:
        return bool(self.note["failed"])

    @property
    def earlier(self) -> bool:
        """Whether its address was made of its full settings, by an earlier version."""
        return "settings" not in self.note


def merge(runs: Sequence[Path], out: Path) -> Merged:
    """Bring the cells of `runs`, and of a run that is in `out` already, together in `out`. A finished cell wins over a
    failed one of the same place.

    Raises:
        BadData: not a run, a packed run, runs of unlike plans (each difference is named), searches or extensions, a
            damaged cell, or two finished results of one place that come from different weights, cases or code.
    """
    if (Path(out) / "run.json").is_file() and Path(out).resolve() not in [Path(run).resolve() for run in runs]:
        runs = [Path(out), *runs]
    about = [read_run_json(run) for run in runs]
    first = about[0]
    for run, other in zip(runs, about, strict=True):
        if other.get("packed"):
            raise BadData(f"{run}: a packed run, whose cells cannot be merged; merge the runs that it was packed from")
    for run, other in zip(runs[1:], about[1:], strict=True):
        one, two = first.get("plan", {}), other.get("plan", {})
        if keys := unequal_keys(one, two):
            unlike = "; ".join(f"{key} {one.get(key)!r:.80}, not {two.get(key)!r:.80}" for key in keys)
            raise BadData(f"{runs[0]} and {run} hold unlike plans ({unlike}); merge runs of one plan")
    for run, other in zip(runs[1:], about[1:], strict=True):
        if unlike := [key for key in ("search_rule", "doses") if first.get(key) != other.get(key)]:
            raise BadData(f"{runs[0]} and {run} differ in {', '.join(unlike)}; merge runs that were begun alike")
        if _extensions(first) != _extensions(other):
            raise BadData(f"{runs[0]} and {run} were extended differently; extend both alike, then merge")
    chosen: dict[str, _Found] = {}
    total = 0
    by_run = [_cells(run) for run in runs]
    if len({cell.earlier for cells in by_run for cell in cells}) > 1:
        stale = [str(run) for run, cells in zip(runs, by_run, strict=True) if any(cell.earlier for cell in cells)]
        raise BadData(f"{', '.join(stale)}: cells of an earlier version; run `bench` there once more, then merge")
    for cells in by_run:
        for cell in cells:
            total += 1
            held = chosen.get(cell.slot)
            if held is None or (held.failed and not cell.failed):
                chosen[cell.slot] = cell
            elif not held.failed and not cell.failed and held.address != cell.address:
                raise BadData(
                    f"{held.file} and {cell.file} measure the same place with different weights, cases or code; "
                    "delete the one that is stale"
                )
    store = RunStore(out, first["plan"], {"merged": [str(run) for run in runs]}, _shared(about))
    for cell in chosen.values():
        if cell.file.parent.resolve() != store.cells.resolve():
            store.adopt(cell.file, cell.address, cell.note)
    store.note(asked=[entry for one in about for entry in one.get("asked", [])])
    store.close()
    return Merged(Path(out), len(chosen), total - len(chosen), sum(cell.failed for cell in chosen.values()))


def _shared(about: Sequence[dict]) -> dict:
    """What run.json says of the merged run: the larger plan, the earliest time it was fixed, and the commits it was
    made at."""
    commits = sorted({one.get("commit", "") for one in about})
    expected = max(one.get("expected", 0) for one in about)
    fixed = min((one["fixed_at"] for one in about if one.get("fixed_at")), default="")
    development: dict[str, dict] = {}
    for one in about:
        development = joined(development, one.get("known_development", {}))
    counted = {"known_development": development} if development else {}
    return about[0] | counted | {"commit": ", ".join(filter(None, commits)), "expected": expected, "fixed_at": fixed}


def _extensions(about: dict) -> list[str]:
    return [one["plan_hash"] for one in about.get("extensions", [])]


def _cells(run: Path) -> list[_Found]:
    cells = []
    for file in without_leftovers(sorted((Path(run) / "cells").glob("*.parquet"))):
        try:
            notes = notes_in(file)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise BadData(f"{file}: not a readable cell ({str(error)[:80]}); delete it and run bench again") from error
        cells += [_Found(file, address, note) for address, note in notes.items()]
    return cells
