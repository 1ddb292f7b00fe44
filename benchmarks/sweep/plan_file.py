"""A sweep written down: a TOML file that says all of a `Plan`, so that it can be fixed, hashed and run anywhere.

title = "Which settings edit facts best"
name = "study/first"               # of the run folder below results/; the file's name where left out
ladder = "grown-quick"             # a ladder or the path of its file
rungs = ["gpt2-2x128"]             # only these; all where left out
seeds = [0, 1, 2]                  # of cases and statistics
limit = 60                         # cases per [[edits]] without a limit of its own
probes = 0                         # at most so many probes per kind and language of a case; 0 is all
corpus = "samples:20000"
fast = true
known = true                       # edit only the facts that the unedited model knows
search = "halving"                 # or "grid": every setting on every case
pareto = false                     # halving also keeps and scores the Pareto front
split = { dev = 0.33, by = ["subject"] }   # or ["subject", "relation"]: test shares neither with dev; seed = 0
[[edits]]
kind = "fact"
dataset = "world_facts"
limit = 100
[methods.rome]                     # an empty table takes the default placements
site = ["mlp", "value"]            # lists are axes; their product is searched
depth = [0.2, 0.35, 0.5]           # settings of `python cli.py methods`, in relative units
[methods.placebo]
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from benchmarks.cases import EditKind
from benchmarks.datasets import dataset_names, kinds_of
from benchmarks.ladders import load_ladder
from benchmarks.plans import plan_path
from benchmarks.sweep.plan import DEFAULT_DATASETS, SEARCHES, Edits, Plan, Split
from editing.errors import BadData, UserError
from editing.methods import FAST, make_method, method_names, taken_by
from editing.stats.statistics import CORPUS

KEYS = (
    "title", "name", "ladder", "rungs", "seeds", "limit", "probes", "corpus", "fast", "known", "search", "pareto", "split",
    "edits", "methods",
)  # fmt: skip
MOST_BYTES, MOST_SETTINGS = 100_000, 1000


def load_plan(path: str | Path) -> Plan:
    """The plan in a TOML file, or the one of that name in `benchmarks/plans`.

    Raises:
        BadData: not readable as TOML, an unknown or missing key, a value that does not fit; names file, key and mend.
    """
    path = plan_path(path)
    table = _table(path)
    _known(path, "", table, KEYS)
    ladder = _get(path, table, "ladder", str, None)
    edits = _edits(path, table, _positive(path, table, "limit", 50))
    fast = _get(path, table, "fast", bool, False)
    axes = _methods(path, table)
    seeds = _list(path, table, "seeds", int, (0,))
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise BadData(f"{path}: seeds: must be different whole numbers from 0 on, such as [0, 1, 2]")
    search = _one_of(path, "search", _get(path, table, "search", str, "halving"), SEARCHES)
    names = tuple(axes)
    given = tuple(FAST.items()) if fast else ()
    try:
        plan = Plan(
            ladder=ladder,
            methods=names,
            kinds=tuple(dict.fromkeys(edit.kind for edit in edits)),
            limit=max(edit.limit for edit in edits),
            seed=seeds[0],
            corpus=_get(path, table, "corpus", str, CORPUS),
            settings=tuple((key, value) for key, value in given if any(taken_by(name, {key: value}) for name in names)),
            probes=_positive(path, table, "probes", 0, least=0),
            title=_get(path, table, "title", str, ""),
            rungs=_list(path, table, "rungs", str, ()),
            seeds=seeds,
            edits=edits,
            axes=tuple((name, tuple(grid.items())) for name, grid in axes.items()),
            search=search,
            pareto=_get(path, table, "pareto", bool, False),
            split=_split(path, table),
            known=_get(path, table, "known", bool, False),
        )
        known = [rung.name for rung in load_ladder(ladder).rungs]
    except UserError as error:
        raise BadData(f"{path}: {error}") from error
    for rung in plan.rungs:
        _one_of(path, "rungs", rung, known)
    _searchable(path, plan)
    return plan


def run_name(path: str | Path) -> PurePosixPath:
    """Where below results/ a plan's run goes: its `name`, else the name of its file.

    Raises:
        BadData: a name that is absolute, climbs, is empty in part, or has signs that are no part of a name.
    """
    path = plan_path(path)
    name = _get(path, _table(path), "name", str, path.stem)
    if not all(re.fullmatch(r"[\w-][\w.-]*", part) for part in name.split("/")):
        raise BadData(
            f"{path}: name: {name!r:.80} is not a folder below results/; write parts of letters, digits, . - _"
        )
    if name.split("/")[0] == "temporary":
        raise BadData(f"{path}: name: results/temporary is for runs of changed code; take another name")
    return PurePosixPath(name)


def _table(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadData(f"{path}: larger than {MOST_BYTES:,} bytes; that is no plan")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadData(f"{path}: cannot be read ({error.strerror}); check the path of the plan") from error
    except (ValueError, RecursionError) as error:
        raise BadData(f"{path}: not readable as TOML ({' '.join(str(error).split()):.160}); mend that line") from error


def _known(path: Path, where: str, table: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in table:
        if key not in keys:
            raise BadData(f"{path}: {where}{key!r:.60}: unknown key; {_hint(key, keys)}")


def _hint(word: object, known: tuple[str, ...] | list[str]) -> str:
    near = difflib.get_close_matches(str(word), known, n=1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(known):.300}"


def _one_of(path: Path, key: str, value: str, known: tuple[str, ...] | list[str]) -> str:
    if value not in known:
        raise BadData(f"{path}: {key}: no {value!r:.60}; {_hint(value, known)}")
    return value


def _get(path: Path, table: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = table.get(key, default)
    if value is None:
        raise BadData(f"{path}: {key}: missing; every plan states it")
    if type(value) is not kind:
        raise BadData(f"{path}: {key}: must be {kind.__name__}, is {type(value).__name__} {value!r:.60}")
    return value


def _positive(path: Path, table: Mapping[str, Any], key: str, default: int, least: int = 1) -> int:
    value = _get(path, table, key, int, default)
    if value < least:
        raise BadData(f"{path}: {key}: {value} is too small; write {least} or more")
    return value


def _list(path: Path, table: Mapping[str, Any], key: str, kind: type, default: tuple) -> tuple:
    value = table.get(key, list(default))
    if not isinstance(value, list) or (key in table and not value) or not all(type(item) is kind for item in value):
        raise BadData(f"{path}: {key}: must be a list of {kind.__name__}, is {value!r:.60}")
    return tuple(value)


def _edits(path: Path, table: Mapping[str, Any], limit: int) -> tuple[Edits, ...]:
    entries = table.get("edits")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise BadData(f"{path}: edits: write at least one [[edits]] with kind, and dataset where it is not the default")
    found: list[Edits] = []
    for number, entry in enumerate(entries, 1):
        where = f"edits {number}: "
        _known(path, where, entry, ("kind", "dataset", "limit"))
        inside = {f"{where}{key}": value for key, value in entry.items()}
        kind = _one_of(path, f"{where}kind", _get(path, inside, f"{where}kind", str, None), get_args(EditKind))
        dataset = _get(path, inside, f"{where}dataset", str, DEFAULT_DATASETS[kind])
        _one_of(path, f"{where}dataset", dataset.partition(":")[0], dataset_names())
        if kind not in kinds_of(dataset):
            raise BadData(
                f"{path}: {where}data set {dataset!r} has no {kind} edits; it has {', '.join(kinds_of(dataset))}"
            )
        if any((kind, dataset) == (other.kind, other.dataset) for other in found):
            raise BadData(f"{path}: {where}{kind} edits of {dataset} are named twice; leave one out")
        found.append(Edits(kind, dataset, _positive(path, inside, f"{where}limit", limit)))
    return tuple(found)


def _methods(path: Path, table: Mapping[str, Any]) -> dict[str, dict[str, tuple]]:
    """Method -> setting -> values to try, each of which the method takes."""
    methods = table.get("methods")
    if not isinstance(methods, dict) or not methods or not all(isinstance(grid, dict) for grid in methods.values()):
        raise BadData(f"{path}: methods: write at least one table such as [methods.rome]")
    found: dict[str, dict[str, tuple]] = {}
    for name, grid in methods.items():
        _one_of(path, "methods", name, method_names())
        found[name] = {}
        settings = tuple(make_method(name).settings())
        size = 1
        for key, value in grid.items():
            where = f"methods.{name}.{key}"
            _one_of(path, f"methods.{name}", key, settings)
            values = tuple(value) if isinstance(value, list) else (value,)
            if not values or len({(type(v), str(v)) for v in values}) < len(values):
                raise BadData(f"{path}: {where}: must be a value, or a list of different values, is {value!r:.60}")
            size *= len(values)
            if size > MOST_SETTINGS:
                raise BadData(f"{path}: methods.{name}: more than {MOST_SETTINGS} settings; leave some values out")
            for one in values:
                if isinstance(one, float) and not isfinite(one):
                    raise BadData(f"{path}: {where}: {one} is not a finite number")
                try:
                    make_method(name, **{key: one})
                except UserError as error:
                    raise BadData(f"{path}: {where}: {error}") from error
            found[name][key] = values
    return found


def _split(path: Path, table: Mapping[str, Any]) -> Split:
    entry = _get(path, table, "split", dict, {})
    _known(path, "split: ", entry, ("dev", "by", "seed"))
    inside = {f"split: {key}": value for key, value in entry.items()}
    usual = Split()
    dev = _get(path, inside, "split: dev", float, usual.dev)
    if not 0 < dev < 1:
        raise BadData(f"{path}: split: dev: {dev} is not a share between 0 and 1, such as 0.33")
    by = _list(path, inside, "split: by", str, usual.by)
    for one in by:
        _one_of(path, "split: by", one, ("subject", "relation"))
    return Split(_positive(path, inside, "split: seed", 0, least=0), dev, by)


def _searchable(path: Path, plan: Plan) -> None:
    from benchmarks.sweep.schedule import CONTROLS

    if plan.search != "halving":
        return
    if set(plan.methods) <= set(CONTROLS):
        raise BadData(f"{path}: methods: {', '.join(plan.methods)} only follow what is searched; add another method")
    for name, grid in plan.axes:
        for key, values in grid:
            if name in CONTROLS and len(values) > 1:
                raise BadData(
                    f"{path}: methods.{name}.{key}: a control follows the chosen setting; give one value or none"
                )
