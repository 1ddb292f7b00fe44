"""Readings of a ladder's models or of one model: rung by rung, written as CSV, shown as a short table."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from benchmarks.ladders import choose_rungs
from benchmarks.measure import open_model, statistics_of, stored_table
from benchmarks.readings.base import NONE, Reading
from benchmarks.readings.by_name import make_reading, reading_names
from benchmarks.readings.prompts import (
    Material,
    Ravel,
    ReadingInput,
    exposure_of,
    known_material,
    read_ravel,
    recipe_of,
    world_material,
)
from editing.cache import cache_root
from editing.errors import BadData, BadRequest, UserError
from editing.files import atomic_file, made_folder
from editing.lazy import pandas as pd
from editing.progress import announce
from valley.rows import READINGS_FILE, at_highest, interval_over_entities, read_readings

NO_LAYER = -2  # stands for "no layer" in tables grouped by it; -1 is the embedding
WORLD, RAVEL = "world", "ravel:"


@dataclass(frozen=True)
class Read:
    """What a run gave: the table (COLUMNS), the file written, seconds of the CPU per rung and reading, a line per
    attribute whose known entities were searched, per optional rung left out and per rung that failed."""

    table: pd.DataFrame
    file: Path | None
    seconds: tuple[tuple[str, str, float], ...]
    found: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[str, ...]


def make_readings(names: Sequence[str], settings: Mapping[str, object], data: str = WORLD) -> list[Reading]:
    """The readings called `names`, all that can read `data` when empty; each takes those of `settings` that it has.

    Raises:
        BadRequest: unknown names, a setting that none of them has.
    """
    chosen = list(names) or [name for name in reading_names() if data == WORLD or not make_reading(name).world_only]
    known = {name: make_reading(name) for name in chosen}
    taken = {name: [key for key in settings if hasattr(one, key)] for name, one in known.items()}
    for key in settings:
        if not any(key in keys for keys in taken.values()):
            raise BadRequest(f"--set {key}: none of {', '.join(chosen)} has this setting; see `describe {chosen[0]}`")
    return [make_reading(name, **{key: settings[key] for key in keys}) for name, keys in taken.items()]


def ravel_of(data: str) -> Ravel | None:
    """RAVEL's entities for "ravel:FOLDER#KIND"; None for "world".

    Raises:
        BadRequest: data of another form. BadData: files that cannot be read.
    """
    if data == WORLD:
        return None
    if not data.startswith(RAVEL):
        raise BadRequest(f"--data {data!r:.80}: write world, or ravel:FOLDER#KIND such as ravel:ravel/data#city")
    folder, _, kind = data.removeprefix(RAVEL).partition("#")
    if not folder:
        raise BadRequest(f"--data {data!r:.80}: no folder; write ravel:FOLDER#KIND such as ravel:ravel/data#city")
    return read_ravel(Path(folder).expanduser(), kind or "city")


def world_of(reference: str, limit: int = 0, relations: Sequence[str] = ()) -> Material:
    """The world's facts, at most `limit` per relation unless that is 0, of `relations` unless that is empty; for a rung
    trained here those of the world that it was trained on, with their exposure.

    Raises:
        BadRequest: a relation that the world does not have.
    """
    recipe = recipe_of(reference)
    material = world_material(recipe and recipe.world, limit)
    _check_relations(relations, material.relations)
    chosen = tuple(one for one in material.questions if not relations or one.relation in relations)
    return replace(material, questions=chosen, exposure=exposure_of(reference))


def _check_relations(named: Sequence[str], there: Sequence[str]) -> None:
    for name in named:
        if name not in there:
            raise BadRequest(f"--relations: no relation {name!r:.60}; use one or more of {', '.join(there)}")


def run_readings(
    name: str,
    readings: Sequence[Reading],
    *,
    rungs: Sequence[str] = (),
    data: str = WORLD,
    limit: int = 0,
    relations: Sequence[str] = (),
    out: Path | None = None,
    device: str | None = None,
    seed: int = 0,
    say: Callable[[str], None] = announce,
) -> Read:
    """Make `readings` of every rung of a ladder, or of one model. What was read before comes from the cache.

    Args:
        name: a ladder's name or file, or a model reference. rungs: only these of the ladder.
        data: see `ravel_of`. limit: facts per relation of the world, or entities per attribute that the model knows; 0
            means the default. relations: only facts of these, of RAVEL attributes; empty means all.
        out: folder of readings.csv; rows of other rungs and readings that it already holds stay.
        say: called with one line per rung.

    Raises:
        UserError: no such ladder, rung, relation or data; a folder that cannot be written; before any work where
            possible.
        KeyboardInterrupt: with a message that says what is kept.
    """
    chosen, skipped = choose_rungs(name, rungs)
    ravel = ravel_of(data)
    if ravel is not None and relations:
        _check_relations(relations, tuple(ravel.templates))
        ravel = replace(ravel, templates={name: ravel.templates[name] for name in relations})
    if ravel is not None and (other := [one.name for one in readings if one.world_only]):
        raise BadRequest(f"reading {other[0]} asks about the world's concepts only; leave it out, or use --data world")
    tables, seconds, found, failed = [], [], [], []
    file = None if out is None else made_folder(out) / READINGS_FILE
    for number, rung in enumerate(chosen, 1):
        say(f"rung {number} of {len(chosen)}: {rung.name}")
        try:
            if ravel is None:
                material = world_of(rung.model, limit, relations)
                lm = open_model(rung.model, device)
            else:
                lm = open_model(rung.model, device)
                began = time.process_time()
                material, examined = known_material(lm, ravel, limit, seed)
                seconds.append((rung.name, "known entities", time.process_time() - began))
                found += [f"{rung.name}, {material.name}, {one.line}" for one in examined]
            source = ReadingInput(lm, material, statistics_of(lm, seed))
            for reading in readings:
                began = time.process_time()
                table = _read(reading, source).assign(rung=rung.name, model=rung.model)
                seconds.append((rung.name, reading.name, time.process_time() - began))
                if file is not None:  # after every reading, so that what a killed run has read is kept
                    _store(file, table, rung.name, reading.name)
                tables.append(table)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted; {len(tables)} readings are done and kept; run the same command to go on"
            ) from None
        except UserError as error:
            if len(chosen) == 1:
                raise
            failed.append(f"failed: rung {rung.name}: {error}")
    if not tables:
        raise BadData(f"{name}: no rung could be read; {[*skipped, *failed, 'it has none'][0]}")
    whole = pd.concat(tables, ignore_index=True)
    return Read(whole, file, tuple(seconds), tuple(found), skipped, tuple(failed))


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
    identity = [reading.version, reading.name, repr(reading), repr(source.material), repr(data)]
    return stored_table(cache_root() / "readings", source.lm, identity, lambda: reading(source))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per rung, reading, measure and language: the layer where the mean over relations is highest
    (`valley.rows.at_highest`), its value with its 95% interval over entities where their rows are there, and the
    controls' means there."""
    table = table.assign(concept=table["concept"].fillna("")).dropna(subset=["value"])
    table = table.fillna({"lang": "", "position": "", "layer": NO_LAYER})
    keys = ["rung", "reading", "measure", "lang", "position"]
    means = table[table["concept"] == ""]
    values = means.groupby([*keys, "layer", "control"], sort=False)["value"].mean().reset_index()
    records = []
    for about, part in at_highest(values, keys, "layer").groupby([*keys, "layer"], sort=False):
        *names, layer = cast(Any, about)
        place = dict(zip(keys, names, strict=True)) | {"layer": layer}
        measure = place.pop("measure")
        by_control = part.set_index("control")["value"].sort_index()
        low, high = interval_over_entities(table, place, measure, NONE)
        record = dict(zip(keys, names, strict=True)) | {"layer": "" if layer == NO_LAYER else int(layer)}
        record |= {"value": by_control.pop(NONE), "low": low, "high": high}
        controls = []
        for name, value in by_control.items():
            low, high = interval_over_entities(table, place, measure, str(name))
            controls.append(f"{name} {value:.3g}" + ("" if low != low else f" ({low:.3g} to {high:.3g})"))
        records.append(record | {"control": ", ".join(controls)})
    return pd.DataFrame(records)


def format_read(read: Read, shown: pd.DataFrame) -> str:
    """`shown`, its `summary`, as text for a terminal, with what was left out and what it cost."""
    lines = [
        shown.to_string(index=False, float_format=lambda v: f"{v:.3f}", na_rep="")
        if len(shown)
        else "nothing measurable"
    ]
    spent: dict[str, float] = {}
    for _, reading, seconds in read.seconds:
        spent[reading] = spent.get(reading, 0.0) + seconds
    lines.append("CPU-seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in spent.items()))
    few = read.table[read.table["value"].isna()]
    if len(few):
        places = few[["reading", "relation", "lang"]].drop_duplicates()
        lines.append(f"not measurable, too few known facts: {len(places)} places of reading, relation and language")
        lines += _counts(few)
    lines += [*read.found, *read.skipped, *read.failed]
    if read.file is not None:
        lines.append(f"wrote {read.file}")
    return "\n".join(lines)


def _counts(few: pd.DataFrame) -> list[str]:
    """A line per rung, reading and language: how many facts or entities there were of each relation."""
    lines = []
    for (rung, reading, lang), part in few.groupby(["rung", "reading", "lang"], sort=False):
        counts = part.groupby("relation", sort=False)["n"].max()
        there = ", ".join(f"{relation} {n}" for relation, n in counts.items())
        lines.append(f"  {rung}, {reading}, {lang}, facts or entities there: {there}")
    return lines
