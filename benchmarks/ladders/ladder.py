"""Ladders: an ordered family of models, weakest first, as TOML without code. A new ladder is one new file.

title = "..."
[[rung]]                # its keys are the fields of RungEntry
name = "gpt2-1x64"
model = "grown:gpt2-1x64"
seeds = [0, 1, 2]       # three rungs: gpt2-1x64, gpt2-1x64-s1, gpt2-1x64-s2
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass as checked_dataclass

from editing.errors import BadData, BadModel
from editing.files import read_toml
from valley.rows import first_problem

_FOLDER = Path(__file__).parent / "catalogue"
SCHEME = re.compile(r"(grown|package|gguf):")
GROWN = re.compile(r"(?P<rung>grown:[a-z0-9_]+-\d+x\d+)(?P<options>@.+)?")


Count = Annotated[StrictInt, Field(ge=0)]


@checked_dataclass(frozen=True, config={"extra": "forbid"})
class Rung:
    """One model of a ladder."""

    name: str = Field(description="name, unique in the ladder")
    model: str = Field(description="any model reference; a folder is relative to where the program runs")
    optional: StrictBool = Field(
        default=False, description="true: left out, with a message, where the model is missing"
    )
    licence: str = Field(default="", description="licence of the model")
    note: str = Field(default="", description="remark")
    parameters: Count = Field(default=0, description="number of parameters; 0 where it is not stated")
    gated: StrictBool = Field(default=False, description="true: the hub requires a login")
    training_tokens: Count = Field(default=0, description="number of tokens of the training; 0 where it is not stated")
    unpinned: StrictBool = Field(
        default=False, description="true: no commit after @, so the newest of the hub is taken"
    )
    checked: str = Field(
        default="",
        pattern=r"^$|^not checked$|^https://\S+( .*)?$",
        description='https:// address where id and size were read, or "not checked"',
    )
    size: str = Field(default="", description="what the seeds of one rung share; empty for a rung without `seeds`")


@dataclass(frozen=True)
class Ladder:
    """Rungs in order of expected strength. `name` is the file's, without `.toml`."""

    name: str
    title: str
    rungs: tuple[Rung, ...]


def _reference(model: str) -> str:
    from benchmarks.models import parse

    try:
        parse(model)
    except BadModel as error:
        raise ValueError(error) from error
    return model


def first_present(model: object) -> object:
    """Of a list of model references, the first that is no missing folder, else the last; anything else unchanged."""
    if not isinstance(model, list) or not model or not all(isinstance(reference, str) for reference in model):
        return model
    present = [ref for ref in model if not _is_folder(ref) or Path(ref).expanduser().is_dir()]
    return (present or model[-1:])[0]


def _is_folder(reference: str) -> bool:
    return reference.startswith((".", "/", "~"))


@checked_dataclass(frozen=True, config={"extra": "forbid"})
class RungEntry(Rung):
    """A [[rung]] of a ladder's file."""

    name: str = Field(pattern=r"^[\w-][\w.-]*$", description="name, unique in the ladder: letters, digits, . - _")
    model: Annotated[str, BeforeValidator(first_present), AfterValidator(_reference)] = Field(
        min_length=1,
        description="any model reference, a folder relative to where the program runs; "
        "or a list of them, of which the first that is no missing folder is taken",
    )
    seeds: list[Count] | None = Field(
        default=None,
        min_length=1,
        description="of grown models: list of whole numbers such as [0, 1], one rung per seed",
    )

    @model_validator(mode="after")
    def _agrees(self) -> RungEntry:
        if self.seeds and not GROWN.fullmatch(self.model):
            raise ValueError("seeds: only a model grown:NAME whose name states no seed can have several")
        if self.unpinned and re.search(r"@[0-9a-f]{40}$", self.model.partition("#")[0]):
            raise ValueError("unpinned: the model is pinned to a commit; leave unpinned out")
        return self

    def rungs(self) -> Iterator[Rung]:
        """One rung per seed."""
        stated: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(Rung)}
        match = GROWN.fullmatch(self.model)
        if not self.seeds or match is None:
            yield Rung(**stated)
            return
        for seed in self.seeds:
            tail = f"-s{seed}" if seed else ""
            model = f"{match['rung']}{tail}{match['options'] or ''}"
            yield Rung(**{**stated, "name": f"{self.name}{tail}", "model": model, "size": self.name})


class LadderFile(BaseModel, extra="forbid"):
    """A ladder's file."""

    title: str = Field(default="", description="one line that says what the ladder is")
    rung: list[RungEntry] = Field(min_length=1, description="at least one [[rung]], the weakest first")


def ladder_names() -> tuple[str, ...]:
    """The ladders that come with the project."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_ladder(name: str | Path) -> Ladder:
    """A ladder by its name here, by the path of a TOML file, or of the one model that a reference names.

    Raises:
        BadData: no such ladder, not TOML, or a wrong entry; names file, rung and key.
        BadModel: a model reference that is none.
    """
    if isinstance(name, str) and (SCHEME.match(name) or ("/" in name and not name.endswith(".toml"))):
        return _of_one(name)  # a hub id or a folder
    path = _FOLDER / f"{name}.toml" if str(name) in ladder_names() else Path(name)
    if path.suffix != ".toml" or not path.is_file():
        close = difflib.get_close_matches(str(name), ladder_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"use one of {', '.join(ladder_names())}."
        raise BadData(f"ladder {str(name)!r:.120}: no such ladder; {hint} Or give the path of a .toml file")
    return _ladder(path, read_toml(path, "ladder"))


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


def choose_rungs(
    name: str, rungs: Sequence[str] = (), *, absent: bool = False
) -> tuple[tuple[Rung, ...], tuple[str, ...]]:
    """The rungs a command is to work on, and one line for each optional one left out.

    Args:
        name: a ladder's name or .toml file, or a model reference, which is a ladder of that one model.
        rungs: only these, by name. absent: also the optional ones whose model is not here.

    Raises:
        BadData: no such ladder, model folder or rung; no rung whose model is here. BadModel: neither a ladder nor a
            model reference.
    """
    if name in ladder_names() or name.endswith(".toml"):
        ladder = load_ladder(name)
    else:
        if difflib.get_close_matches(name, ladder_names(), n=1, cutoff=0.8):
            load_ladder(name)  # a slip in a ladder's name: say so
        ladder = _of_one(name)
    for one in rungs:
        if one not in {rung.name for rung in ladder.rungs}:
            known = ", ".join(rung.name for rung in ladder.rungs)
            raise BadData(f"ladder {name}: no rung {one!r:.60}; it has {known:.300}")
    chosen = replace(ladder, rungs=tuple(rung for rung in ladder.rungs if not rungs or rung.name in rungs))
    kept, notes = (chosen.rungs, ()) if absent else present_rungs(chosen)
    if not kept:
        raise BadData(f"{'; '.join(notes):.300}; no other rung was chosen")
    return kept, notes


def _of_one(model: str) -> Ladder:
    """The ladder of a single model; both are called by its reference."""
    from editing.references import parse

    parsed = parse(model)
    if parsed.kind == "folder" and not Path(parsed.name).expanduser().is_dir():
        raise BadData(f"{model:.120}: no such ladder and no such model folder; check the path")
    if parsed.kind == "grown":
        from benchmarks.grown import RungSpec  # a slip here would otherwise fail cell by cell

        RungSpec.parse(parsed.name)
    return Ladder(model, "", (Rung(model, model),))


def _ladder(path: Path, table: dict[str, Any]) -> Ladder:
    try:
        file = LadderFile.model_validate(table)
    except ValidationError as error:
        raise BadData(f"{path}: {first_problem(error, LadderFile, table)}") from error
    rungs: dict[str, Rung] = {}
    for number, entry in enumerate(file.rung, 1):
        for rung in entry.rungs():
            if rung.name in rungs:
                raise BadData(f"{path}: rung {number} ({rung.name}): name: used twice; names are unique in a ladder")
            rungs[rung.name] = rung
    return Ladder(path.stem, file.title, tuple(rungs.values()))
