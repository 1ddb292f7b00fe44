"""Readings of a ladder's models or of one model: rung by rung, written as CSV, shown as a short table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pandas as pd

from benchmarks.grown import RungSpec
from benchmarks.ladders import choose_rungs
from benchmarks.measure import open_model, statistics_of, stored_table
from benchmarks.models import parse
from benchmarks.readings.base import NONE, Reading
from benchmarks.readings.by_name import make_reading, reading_names
from benchmarks.readings.prompts import Material, ReadingInput, exposure_of, ravel_material, world_material
from editing.cache import cache_root
from editing.errors import BadData, BadRequest, UserError
from editing.files import atomic_file, made_folder
from valley.rows import READINGS_FILE, at_highest, read_readings

VERSION = 2  # raise it when the same model would give other rows than before
NO_LAYER = -2  # stands for "no layer" in tables grouped by it; -1 is the embedding
WORLD, RAVEL = "world", "ravel:"


@dataclass(frozen=True)
class Read:
    """What a run gave: the table (COLUMNS), the file written, seconds of the CPU per rung and reading, a line per
    optional rung left out and per rung that failed."""

    table: pd.DataFrame
    file: Path | None
    seconds: tuple[tuple[str, str, float], ...]
    skipped: tuple[str, ...]
    failed: tuple[str, ...]


def make_readings(names: Sequence[str], settings: Mapping[str, object]) -> list[Reading]:
    """The readings called `names`, all of them when empty; each takes those of `settings` that it has.

    Raises:
        BadRequest: unknown names, a setting that none of them has.
    """
    chosen = list(names) or list(reading_names())
    known = {name: make_reading(name) for name in chosen}
    taken = {name: [key for key in settings if hasattr(one, key)] for name, one in known.items()}
    for key in settings:
        if not any(key in keys for keys in taken.values()):
            raise BadRequest(f"--set {key}: none of {', '.join(chosen)} has this setting; see `describe {chosen[0]}`")
    return [make_reading(name, **{key: settings[key] for key in keys}) for name, keys in taken.items()]


def material_of(data: str, reference: str, limit: int = 0, seed: int = 0) -> Material:
    """The questions that a model is read with.

    Args:
        data: "world" (for a grown rung, the world that it was trained on, with the exposure of its facts), or
            "ravel:FOLDER#KIND" with RAVEL's files. limit: facts per relation, or entities; 0 means the default.

    Raises:
        BadRequest: data of another form. BadData: files that cannot be read.
    """
    if data == WORLD:
        parsed = parse(reference)
        known = RungSpec.parse(parsed.name).world if parsed.kind == "grown" else None
        return replace(world_material(known, limit), exposure=exposure_of(reference))
    if data.startswith(RAVEL):
        folder, _, kind = data.removeprefix(RAVEL).partition("#")
        if not folder:
            raise BadRequest(f"--data {data!r:.80}: no folder; write ravel:FOLDER#KIND such as ravel:ravel/data#city")
        return ravel_material(Path(folder).expanduser(), kind or "city", limit or 200, seed=seed)
    raise BadRequest(f"--data {data!r:.80}: write world, or ravel:FOLDER#KIND such as ravel:ravel/data#city")


def run_readings(
    name: str,
    readings: Sequence[Reading],
    *,
    rungs: Sequence[str] = (),
    data: str = WORLD,
    limit: int = 0,
    out: Path | None = None,
    device: str | None = None,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> Read:
    """Make `readings` of every rung of a ladder, or of one model. What was read before comes from the cache.

    Args:
        name: a ladder's name or file, or a model reference. rungs: only these of the ladder.
        data, limit: see `material_of`.
        out: folder of readings.csv; rows of other rungs and readings that it already holds stay.
        say: called with one line per rung; None writes it to stderr.

    Raises:
        UserError: no such ladder, rung or data; a folder that cannot be written; before any work where it can be.
    """
    chosen, skipped = choose_rungs(name, rungs)
    if data != WORLD:
        material_of(data, "", limit, seed)  # of no model: a mistake in it is one before any work, not one per rung
    say = say or (lambda line: print(line, file=sys.stderr))
    tables, seconds, failed = [], [], []
    file = None if out is None else made_folder(out) / READINGS_FILE
    for number, rung in enumerate(chosen, 1):
        say(f"rung {number} of {len(chosen)}: {rung.name}")
        try:
            material = material_of(data, rung.model, limit, seed)
            lm = open_model(rung.model, device)
            source = ReadingInput(lm, material, statistics_of(lm, seed))
            for reading in readings:
                began = time.process_time()
                table = _read(reading, source).assign(rung=rung.name, model=rung.model)
                seconds.append((rung.name, reading.name, time.process_time() - began))
                tables.append(table)
                if file is not None:  # after every reading, so that what a killed run has read is kept
                    _store(file, table, rung.name, reading.name)
        except UserError as error:
            if len(chosen) == 1:
                raise
            failed.append(f"failed: rung {rung.name}: {error}")
    if not tables:
        raise BadData(f"{name}: no rung could be read; {[*skipped, *failed, 'it has none'][0]}")
    whole = pd.concat(tables, ignore_index=True)
    return Read(whole, file, tuple(seconds), skipped, tuple(failed))


def _store(file: Path, table: pd.DataFrame, rung: str, reading: str) -> None:
    """Add the table of one rung and reading to the file, in place of the one that it holds of the same."""
    if file.is_file():
        old = read_readings(file)
        table = pd.concat([old[(old["rung"] != rung) | (old["reading"] != reading)], table], ignore_index=True)
    with atomic_file(file) as temporary:
        table.to_csv(temporary, index=False)


def _read(reading: Reading, source: ReadingInput) -> pd.DataFrame:
    """The reading of one model, or what was read before."""
    # Not `describe()`: it names the covariances used so far, so it hangs on which readings came from the cache.
    data = (source.statistics.corpus, source.statistics.seed, source.statistics.ridge)
    identity = [VERSION, reading.name, repr(reading), repr(source.material), repr(data)]
    return stored_table(cache_root() / "readings", source.lm, identity, lambda: reading(source))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per rung, reading, measure and language: the layer where the mean over relations is highest
    (`valley.rows.at_highest`), its value, and the controls' means there."""
    means = table[table["concept"].fillna("") == ""].dropna(subset=["value"])
    keys = ["rung", "reading", "measure", "lang", "position"]
    means = means.fillna({"lang": "", "position": "", "layer": NO_LAYER})
    values = means.groupby([*keys, "layer", "control"], sort=False)["value"].mean().reset_index()
    records = []
    for about, part in at_highest(values, keys, "layer").groupby([*keys, "layer"], sort=False):
        *names, layer = cast(Any, about)
        by_control = part.set_index("control")["value"].sort_index()
        record = dict(zip(keys, names, strict=True)) | {"layer": "" if layer == NO_LAYER else int(layer)}
        record |= {"value": by_control.pop(NONE)}
        records.append(record | {"control": ", ".join(f"{name} {value:.3g}" for name, value in by_control.items())})
    return pd.DataFrame(records)


def format_read(read: Read) -> str:
    """The summary as text for a terminal."""
    shown = summary(read.table)
    lines = [shown.to_string(index=False, float_format=lambda v: f"{v:.3f}") if len(shown) else "nothing measurable"]
    spent: dict[str, float] = {}
    for _, reading, seconds in read.seconds:
        spent[reading] = spent.get(reading, 0.0) + seconds
    lines.append("CPU-seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in spent.items()))
    few = read.table[read.table["value"].isna()]
    if len(few):
        places = few[["reading", "relation", "lang"]].drop_duplicates()
        lines.append(f"not measurable, too few known facts: {len(places)} places of reading, relation and language")
    lines += [*read.skipped, *read.failed]
    if read.file is not None:
        lines.append(f"wrote {read.file}")
    return "\n".join(lines)
