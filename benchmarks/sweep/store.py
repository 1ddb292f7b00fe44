"""A run folder that survives anything: one Parquet file per finished cell, written whole or not at all.

    RUN/run.json             what was requested, versions, rungs left out
    RUN/plan.toml            the plan, of a run by a plan file: with what flags changed
    RUN/cells/<hash>.parquet one finished cell (a failed cell is one error row)
    RUN/cells/compact-<hash>.parquet  many finished cells (`benchmarks/sweep/run_folder/compact.py`)
    RUN/.locks/              one claim per cell in work and one per process, freed by the system when its process dies

Files appear by temp file + fsync + rename, so a kill loses at most the cell in flight and a reader never sees half a
file. Several processes may work on one folder: each claims the cells it computes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from benchmarks.sweep.run_folder.cell_files import cell_table, notes_in, without, write_cell
from editing.errors import BadData
from editing.files import atomic_file, made_folder
from editing.lazy import pandas as pd
from valley.rows import SCHEMA_VERSION, is_compacted, read_run_json, without_leftovers, write_plans

WRITER = "writer-"  # begins the name of the lock that a process holds while it may write cells


class RunStore:
    """One run folder, open for writing.

    Args:
        fixed: what every run into this folder must share (`Plan.fixed`).
        request: what this run adds; kept in run.json.
        about: further facts for run.json (versions, commit).
        extension: what this run adds to a finished one (`benchmarks/sweep/extension.py`); kept in run.json.

    Raises:
        BadData: the folder cannot be written, is full, holds another plan, an unreadable run.json or an unreadable
            compacted file.
    """

    def __init__(self, folder: Path, fixed: dict, request: dict, about: dict, extension: dict | None = None) -> None:
        self.folder = Path(folder)
        self.cells = self.folder / "cells"
        self.locks = self.folder / ".locks"
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
            self.locks.mkdir(exist_ok=True)
        except OSError as error:
            raise BadData(f"{self.folder}: cannot write results there ({error.strerror}); use another --out") from error
        self._present = FileLock(self.locks / f"{WRITER}{uuid4().hex}.lock")
        with self.claim("run", wait=True):  # a `compact` at work ends first
            self._present.acquire()
        made_folder(self.folder)  # a full disk shows here
        self._clean()
        self._slots: dict[str, set[str]] = {}
        self._failed: set[str] = set()
        self._settings: dict[str, str] = {}  # address -> full settings
        self._earlier: set[str] = set()  # addresses of files that were addressed by their full settings
        self._seen: dict[str, int] = {}  # address -> time of the file as indexed
        self._compacted: dict[str, Path] = {}  # address -> the compacted file that holds it
        self._unloaded: dict[str, dict[str, str]] = {}  # rung -> address and slot of what failed without its model
        self.unreadable: list[str] = []
        for file in without_leftovers(sorted(self.cells.glob("*.parquet"))):
            self._index(file)
        for name in filter(is_compacted, map(Path, self.unreadable)):  # no cell's result would take its place
            self.close()
            raise BadData(f"{self.cells / name}: not readable as Parquet; restore it, or delete it and run bench again")
        self._manifest(fixed, request, about, extension)

    def done(self, address: str) -> bool:
        """Whether this cell is finished and did not fail."""
        file = self._file(address)
        if not file.exists():
            return address in self._compacted
        if self._seen.get(address) != file.stat().st_mtime_ns:  # another process has written it since
            self._index(file)
        return address not in self._failed

    def failed(self, address: str) -> bool:
        """Whether this cell was tried and failed; a damaged file does not count."""
        file = self._file(address)
        return file.exists() and not self.done(address) and file.name not in self.unreadable

    def read(self, address: str) -> pd.DataFrame:
        """The rows of a stored cell."""
        return cell_table(self._place(address), address).to_pandas()

    def settings(self, address: str) -> str:
        """The full settings of a stored cell as JSON; empty where they are not known."""
        return self._settings.get(address, "")

    def earlier_settings(self) -> set[str]:
        """The settings of all files that were addressed by their full settings."""
        for address in self._earlier - self._settings.keys():
            table = pq.read_table(self._file(address), columns=["settings"])
            self._settings[address] = str(table["settings"][0]) if len(table) else ""
        return {self._settings[address] for address in self._earlier}

    def rename(self, old: tuple[str, str], new: tuple[str, str]) -> None:
        """Give a cell of an earlier version its new address, and every result of its place the new slot.

        Args:
            old, new: address and slot.

        Raises:
            BadData: disk full, folder gone or read-only.
        """
        for stem in self._slots.get(old[1], set()) & self._earlier:
            address = new[0] if stem == old[0] else stem
            with self.claim(stem, wait=True):
                if not self._file(stem).exists():  # renamed by another process
                    continue
                table, note = pq.read_table(self._file(stem)), {"slot": new[1], "failed": stem in self._failed}
                cells = pa.array([address] * len(table), table.schema.field("cell").type)
                table = table.set_column(table.schema.get_field_index("cell"), table.schema.field("cell"), cells)
                self._write(address, table, note | {"settings": self._settings[stem]})
                if address != stem:
                    self._file(stem).unlink(missing_ok=True)
            self._earlier.discard(stem)
            self._slots[old[1]].discard(stem)
            if address != stem:
                self._failed.discard(stem)

    def drop_unloaded(self, rung: str) -> None:
        """Remove the failed cells of a rung whose model could not be loaded then: where its layers were not known,
        no result takes their place."""
        for address, slot in self._unloaded.pop(rung, {}).items():
            with self.claim(address, wait=True):
                if self.failed(address):
                    self._file(address).unlink(missing_ok=True)
            self._failed.discard(address)
            self._slots.get(slot, set()).discard(address)

    def has_result(self, slot: str) -> bool:
        """Whether some cell of this slot, whatever its weights, had finished without failing."""
        return bool(self._slots.get(slot, set()) - self._failed)

    @contextmanager
    def claim(self, address: str, wait: bool = False) -> Iterator[bool]:
        """Take a cell for this process. Yields False when another process is at work on it."""
        lock = FileLock(self.locks / f"{address}.lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise BadData(f"{self.locks}: cannot lock there ({error.strerror}); use another --out") from error
        try:
            yield True
        finally:
            lock.release()

    def write(self, address: str, slot: str, rows: pd.DataFrame, failed: bool = False, **note: str) -> None:
        """Store a finished cell, in place of every older result of the same slot; `note` goes into the note of its
        file.

        Raises:
            BadData: disk full, folder gone or read-only. What is already stored stays.
        """
        table = pa.Table.from_pandas(rows, preserve_index=False)
        settings = str(rows["settings"].iloc[0]) if "settings" in rows and len(rows) else ""
        self._write(address, table, {"slot": slot, "failed": failed, "settings": settings, **note})
        self.keep_only(address, slot)

    def _write(self, address: str, table: pa.Table, note: dict) -> None:
        write_cell(self._file(address), table, note)
        self._index(self._file(address))

    def adopt(self, file: Path, address: str, note: dict) -> None:
        """Take over a finished cell from a file of another folder, as it is.

        Raises:
            BadData: disk full, folder gone or read-only.
        """
        with self.claim(address, wait=True):
            self._write(address, cell_table(file, address), note)
        self.keep_only(address, note["slot"])

    def keep_only(self, address: str, slot: str) -> None:
        """Remove every other result of a slot: older ones, and one that a kill left beside its successor."""
        for old in self._slots.get(slot, set()) - {address}:
            self._file(old).unlink(missing_ok=True)
            if old in self._compacted:
                with self.claim("compacted", wait=True):
                    without(self._compacted.pop(old), old)
        self._slots[slot] = {address}

    def note(self, **facts: object) -> None:
        """Add facts to run.json; entries of a table there that a table of `facts` does not name stay."""
        with self._run_json() as (path, known):
            _write_json(path, joined(known, facts))

    def close(self) -> None:
        """Say that this process writes no more."""
        self._present.release(force=True)
        Path(self._present.lock_file).unlink(missing_ok=True)

    def _file(self, address: str) -> Path:
        return self.cells / f"{address}.parquet"

    def _place(self, address: str) -> Path:
        """The file that holds a stored cell."""
        file = self._file(address)
        return file if file.exists() else self._compacted.get(address, file)

    def _index(self, file: Path) -> None:
        try:
            stamp = file.stat().st_mtime_ns
            failed = False
            for address, note in notes_in(file).items():
                self._slots.setdefault(note["slot"], set()).add(address)
                failed = bool(note["failed"])
                if "unloaded" in note:
                    self._unloaded.setdefault(note["unloaded"], {})[address] = note["slot"]
                if "settings" in note:
                    self._settings[address] = note["settings"]
                else:
                    self._earlier.add(address)
                if is_compacted(file):
                    self._compacted[address] = file
        except FileNotFoundError:  # another process has just replaced it
            return
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
            self.unreadable.append(file.name)
            failed = True
        self._seen[file.stem] = stamp
        (self._failed.add if failed else self._failed.discard)(file.stem)

    def _clean(self) -> None:
        """Remove temp files of killed processes: those whose cell nobody has claimed."""
        for temp in self.cells.glob(".*.tmp"):
            with self.claim(temp.name.split(".")[1]) as claimed:
                if claimed:
                    temp.unlink(missing_ok=True)

    @contextmanager
    def _run_json(self) -> Iterator[tuple[Path, dict]]:
        """run.json and its content, nobody else writing."""
        path = self.folder / "run.json"
        with self.claim("run", wait=True):
            for temp in self.folder.glob(".run.json.*.tmp"):
                temp.unlink(missing_ok=True)
            yield path, read_run_json(self.folder) if path.exists() else {}

    def _manifest(self, fixed: dict, request: dict, about: dict, extension: dict | None) -> None:
        with self._run_json() as (path, known):
            if not known and any(self.cells.glob("*.parquet")):
                raise BadData(f"{self.folder}: has cells but no run.json that says what they are; use another --out")
            stored = known.get("plan", fixed)
            unlike = [
                f"{key} {stored.get(key)!r}, not {value!r}" for key, value in fixed.items() if stored.get(key) != value
            ]
            if known.get("packed"):
                raise BadData(f"{self.folder}: a packed run, to which nothing can be added; use another --out")
            if unlike:
                raise BadData(f"{self.folder}: holds another run ({'; '.join(unlike)}); use another --out")
            history = [*known.get("asked", []), json.loads(json.dumps(request))]
            history = [entry for i, entry in enumerate(history) if entry not in history[:i]]
            # When the plan was fixed: before the first cell, and never again.
            first = {"fixed_at": known.get("fixed_at") or datetime.now(UTC).isoformat(timespec="seconds")}
            about = about | first | {"schema": SCHEMA_VERSION}
            listed = known.get("extensions", [])
            if extension and extension["plan_hash"] not in [one["plan_hash"] for one in listed]:
                about["extensions"] = [*listed, extension]
            written = known | {"plan": fixed, "asked": history} | about
            _write_json(path, written)
            write_plans(written, self.folder)


def joined(one: dict, two: dict) -> dict:
    """`one` with the entries of `two`, those of tables in it one by one: parts of a sweep know parts of a table."""
    tables = {key: joined(one[key], two[key]) for key in one.keys() & two.keys() if _tables(one[key], two[key])}
    return one | two | tables


def _tables(*values: object) -> bool:
    return all(isinstance(value, dict) for value in values)


@contextmanager
def no_writers(folder: Path) -> Iterator[None]:
    """Keep every other process from a run folder; those that come wait.

    Raises:
        BadData: a process is at work on it, or the folder cannot be written.
    """
    locks = Path(folder) / ".locks"
    busy = f"{folder}: another process is at work on it; wait until it ends (`status` shows what runs)"
    try:
        locks.mkdir(exist_ok=True)
        with FileLock(locks / "run.lock", timeout=5):
            for file in locks.glob("*.lock"):
                if file.name != "run.lock":
                    with FileLock(file, timeout=0):
                        pass
                    if file.name.startswith(WRITER):  # of a process that was killed
                        file.unlink(missing_ok=True)
            yield
    except Timeout as error:
        raise BadData(busy) from error
    except OSError as error:
        raise BadData(f"{locks}: cannot lock there ({error.strerror}); compact a copy of the run") from error


def _write_json(path: Path, value: dict) -> None:
    with atomic_file(path) as temp:
        temp.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
