"""Ladders: an ordered family of models, weakest first, as TOML without code. A new ladder is one new file.

title = "..."           # one line
[[rung]]
name = "gpt2-1x64"      # unique in the ladder: letters, digits, . - _
model = "grown:..."     # any model reference; a folder is relative to where the program runs. Of a list, ["./rungs/a",
                        # "grown:..."], the first that is no missing folder is taken
seeds = [0, 1, 2]       # grown models only: one rung per seed, named gpt2-1x64, gpt2-1x64-s1, gpt2-1x64-s2
optional = true         # left out, with a line that says so, where the model is not at hand
licence = "..."
note = "..."
parameters = 124_000_000
training_tokens = 300_000_000_000
gated = true            # the hub asks for a login
unpinned = true         # no commit is given after @, so the hub's newest (or that branch's) is taken
checked = "https://..."  # the page where id and size were read, or "not checked"
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from editing.errors import BadData, BadModel

_FOLDER = Path(__file__).parent / "catalogue"
SCHEME = re.compile(r"(grown|package|gguf):")
GROWN = re.compile(r"(?P<rung>grown:[a-z0-9_]+-\d+x\d+)(?P<options>@.+)?")


@dataclass(frozen=True)
class Rung:
    """One model of a ladder; `parameters` and `training_tokens` are 0 where the ladder does not state them.

    `size` names what the seeds of one rung share; empty for a rung without `seeds`.
    """

    name: str
    model: str
    optional: bool = False
    licence: str = ""
    note: str = ""
    parameters: int = 0
    gated: bool = False
    training_tokens: int = 0
    unpinned: bool = False
    checked: str = ""
    size: str = ""


@dataclass(frozen=True)
class Ladder:
    """Rungs in order of expected strength. `name` is the file's, without `.toml`."""

    name: str
    title: str
    rungs: tuple[Rung, ...]


def ladder_names() -> tuple[str, ...]:
    """The ladders that come with the project."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_ladder(name: str | Path) -> Ladder:
    """A ladder by its name here, by the path of a TOML file, or of the one model that a reference names.

    Raises:
        BadData: no such ladder, not TOML, or a wrong entry; names file, rung and key.
        BadModel: a model reference that is none.
    """
    if isinstance(name, str) and SCHEME.match(name):
        return _of_one(name)
    path = _FOLDER / f"{name}.toml" if str(name) in ladder_names() else Path(name)
    if path.suffix != ".toml" or not path.is_file():
        close = difflib.get_close_matches(str(name), ladder_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"use one of {', '.join(ladder_names())}"
        raise BadData(f"ladder {str(name)!r:.120}: no such ladder; {hint} Or give the path of a .toml file")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadData(f"{path}: not readable as TOML ({' '.join(str(error).split()):.160}); mend that line") from error
    return _ladder(path, table)


def present_rungs(ladder: Ladder) -> tuple[tuple[Rung, ...], tuple[str, ...]]:
    """The rungs to use here, and one line for each optional one that is left out."""
    from editing.references import absent

    kept, notes = [], []
    for rung in ladder.rungs:
        why = absent(rung.model) if rung.optional else None
        if why is None:
            kept.append(rung)
        else:
            notes.append(f"ladder {ladder.name}: optional rung {rung.name} left out: {why}")
    return tuple(kept), tuple(notes)


def choose_rungs(name: str, rungs: Sequence[str] = ()) -> tuple[tuple[Rung, ...], tuple[str, ...]]:
    """The rungs a command is to work on, and one line for each optional one left out.

    Args:
        name: a ladder's name or .toml file, or a model reference, which is a ladder of that one model.
        rungs: only these, by name.

    Raises:
        BadData: no such ladder or rung. BadModel: neither a ladder nor a model reference.
    """
    if name in ladder_names() or name.endswith(".toml"):
        ladder = load_ladder(name)
        kept, notes = present_rungs(ladder)
    else:
        if difflib.get_close_matches(name, ladder_names(), n=1, cutoff=0.8):
            load_ladder(name)  # a slip in a ladder's name: say so
        ladder, notes = _of_one(name), ()
        kept = ladder.rungs
    for wanted in rungs:
        if wanted not in {rung.name for rung in ladder.rungs}:
            known = ", ".join(rung.name for rung in ladder.rungs)
            raise BadData(f"ladder {name}: no rung {wanted!r:.60}; it has {known:.300}")
    return tuple(rung for rung in kept if not rungs or rung.name in rungs), notes


def _of_one(model: str) -> Ladder:
    """The ladder of a single model; both are called by its reference."""
    from editing.references import parse

    parsed = parse(model)
    if parsed.kind == "grown":
        from benchmarks.grown import RungSpec  # a slip here would otherwise fail cell by cell

        RungSpec.parse(parsed.name)
    return Ladder(model, "", (Rung(model, model),))


def _ladder(path: Path, table: dict[str, Any]) -> Ladder:
    for key in set(table) - {"title", "rung"}:
        raise BadData(f"{path}: unknown key {key!r}; a ladder has title and [[rung]] entries")
    title, entries = table.get("title", ""), table.get("rung")
    if not isinstance(title, str):
        raise BadData(f"{path}: title must be text")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise BadData(f"{path}: no rungs; write at least one [[rung]] with name and model")
    rungs: list[Rung] = []
    for number, entry in _each_seed(path, entries):
        rung = _rung(f"{path}: rung {number} ({entry.get('name', 'unnamed')!s:.60})", entry)
        if rung.name in {other.name for other in rungs}:
            raise BadData(f"{path}: rung {number} ({rung.name}): name: used twice; names are unique in a ladder")
        rungs.append(rung)
    return Ladder(path.stem, title, tuple(rungs))


def _each_seed(path: Path, entries: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of every entry, one per seed where it has `seeds`."""
    for number, entry in enumerate(entries, 1):
        if "seeds" not in entry:
            yield number, entry
            continue
        one = {key: value for key, value in entry.items() if key != "seeds"}
        seeds, match = entry["seeds"], GROWN.fullmatch(str(entry.get("model", "")))
        where = f"{path}: rung {number} ({entry.get('name', 'unnamed')!s:.60}): seeds"
        if match is None:
            raise BadData(f"{where}: only a model grown:NAME without a seed of its own can have several")
        if not isinstance(seeds, list) or not seeds or not all(type(n) is int and n >= 0 for n in seeds):
            raise BadData(f"{where}: must be a list of whole numbers, such as [0, 1, 2]")
        for seed in seeds:
            tail = f"-s{seed}" if seed else ""
            model = f"{match['rung']}{tail}{match['options'] or ''}"
            yield number, one | {"name": f"{one.get('name', '')}{tail}", "model": model, "size": one.get("name", "")}


def first_present(model: object) -> object:
    """Of a list of model references, the first that is no missing folder, else the last; anything else unchanged.

    Raises:
        BadModel: a reference in the list that is none.
    """
    from editing.references import parse

    if not isinstance(model, list) or not model or not all(isinstance(reference, str) for reference in model):
        return model
    present = [ref for ref in model if parse(ref).kind != "folder" or Path(ref).expanduser().is_dir()]
    return (present or model[-1:])[0]


def _rung(where: str, entry: dict[str, Any]) -> Rung:
    from editing.references import parse

    try:
        entry = entry | ({"model": first_present(entry["model"])} if "model" in entry else {})
    except BadModel as error:
        raise BadData(f"{where}: model: {error}") from error
    known = {field.name: field for field in fields(Rung)}
    kinds = {"str": str, "bool": bool, "int": int}
    for key, value in entry.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
            raise BadData(f"{where}: {key}: unknown key; {hint}")
        kind = kinds[str(known[key].type)]
        if type(value) is not kind:
            raise BadData(f"{where}: {key}: must be {kind.__name__}, is {type(value).__name__} {value!r:.60}")
    for key, field in known.items():
        if field.default is MISSING and not str(entry.get(key, "")).strip():
            raise BadData(f"{where}: {key}: missing or empty; every rung has a name and a model")
    if not re.fullmatch(r"[\w.-]+", entry["name"]) or entry["name"].startswith("."):
        raise BadData(f"{where}: name: {entry['name']!r:.60} has other signs than letters, digits, . - _")
    for key in ("parameters", "training_tokens"):
        if entry.get(key, 0) < 0:
            raise BadData(f"{where}: {key}: must not be negative")
    if not re.fullmatch(r"|not checked|https://\S+( .*)?", entry.get("checked", "")):
        raise BadData(f'{where}: checked: begin it with the https:// address of a page, or write "not checked"')
    if entry.get("unpinned") and re.search(r"@[0-9a-f]{40}$", entry["model"]):
        raise BadData(f"{where}: unpinned: the model is pinned to a commit; leave unpinned out")
    try:
        parse(entry["model"])
    except BadModel as error:
        raise BadData(f"{where}: model: {error}") from error
    return Rung(**entry)
