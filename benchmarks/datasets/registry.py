"""Data sets by name. Every module of `ours/` and `formats/` is a data set with DESCRIPTION, one line of text.

A module of `ours/` has KINDS (the edit kinds it offers) and `cases(kind, seed, argument) -> list[Case]`. The order of
the cases makes every prefix a varied sample. The argument is what follows a colon in the name: `world_facts:fr`. Where
an argument can mean the world of the model that is edited, `for_model(argument, model)` says which it is.

A module of `formats/` reads one file format into fact edits, in the order of the file. It has `recognises(record) ->
bool` and `read(file, seed, limit) -> CaseSet`; SOURCE where the file is published, OPTIONS (a line that names them)
where the format has options, behind a `#`. `file:PATH`, or the path alone, stands for the format that
recognises the records of the file. `#split=NAME`, `#head` and `#encoding=NAME` are for every format: see `DataFile`.
"""

from __future__ import annotations

import difflib
import pkgutil
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType

from benchmarks.cases import Case
from benchmarks.datasets import formats, ours
from benchmarks.datasets.reading.case_set import CaseSet, LeftOut, account, unusable
from benchmarks.datasets.reading.packed import PACKED
from benchmarks.datasets.reading.sources import DataFile, is_there, located
from editing.errors import BadData, BadRequest
from editing.plugins import Named, loaded, need

__all__ = [
    "CaseSet",
    "LeftOut",
    "account",
    "build_cases",
    "dataset_names",
    "describe",
    "for_model",
    "form_of",
    "forms",
    "kinds_of",
    "read_cases",
]
ANY_FORM = "file"
FACTS = ("fact",)  # what files hold
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".tab", ".parquet", *PACKED)
MOST_RECORDS = 50  # tried until one is recognised


def dataset_names() -> tuple[str, ...]:
    """The data sets there are, by alphabet."""
    return tuple(sorted(_modules()))


@cache
def _modules() -> dict[str, str]:
    """Short name -> module name of every data set."""
    modules: Named[str] = Named()
    for package in (ours, formats):
        for info in pkgutil.iter_modules(package.__path__):
            name = f"{package.__name__}.{info.name}"
            modules.put(info.name, name, name)
    return modules


def forms() -> tuple[str, ...]:
    """The data sets that are a form of file."""
    return tuple(name for name in dataset_names() if hasattr(_module(name), "recognises"))


def _module(name: str) -> ModuleType:
    names = dataset_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise BadRequest(f"unknown data set {name!r}; use {near[0] if near else 'one of ' + ', '.join(names)}")
    module = loaded(_modules()[name])
    need(module, ("DESCRIPTION", *(("recognises", "read") if hasattr(module, "recognises") else ("KINDS", "cases"))))
    return module


def _resolved(name: str) -> tuple[str, str, DataFile | None]:
    """Data set, argument and file of a name, the form of the file looked up where it is not given."""
    base, _, argument = name.partition(":")
    if base != ANY_FORM and base not in dataset_names() and _is_path(name):
        base, argument = ANY_FORM, name
    if base == ANY_FORM:
        file = located(ANY_FORM, argument)
        return form_of(file), argument, file
    return base, argument, None


def _is_path(name: str) -> bool:
    """Whether a name that is no data set is a path: the file exists, or its suffix is known without a format."""
    path = located(ANY_FORM, name).path if name else Path()
    if path.suffix != "" and is_there(path):
        return path.is_file()
    base, colon, _ = name.partition(":")
    return path.suffix.lower() in SUFFIXES and not (colon and base.isidentifier())


def form_of(file: DataFile) -> str:
    """The data set that reads the file.

    Raises:
        BadData: the file cannot be read, or no form recognises its records, or several do.
    """
    path = file.path
    if is_there(path) and path.is_dir():
        raise BadData(f"{path}: the format of a folder is not detected; write lre:{path} for LRE's relations")
    keys, spelling = "", ""
    for record in file.records[:MOST_RECORDS]:
        if not isinstance(record, dict):
            continue
        matches = _recognised_by(record)
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise BadData(
                f"{path}: its records fit {' and '.join(matches)}; "
                f"write one of them before the path: {matches[0]}:{path}"
            )
        keys = keys or ", ".join(f"{key:.40}" for key in list(record)[:12])
        if _recognised_by({str(key).strip().lower(): value for key, value in record.items()}):
            spelling = "write its keys in lower case, or "
    if not keys:
        raise BadData(f'{path}: holds no object; write a list of records such as [{{"prompt": ...}}]')
    raise BadData(
        f"{path}: no form recognises its records, the first has {keys}; "
        f"{spelling}write the form before the path, one of {', '.join(forms())}"
    )


def _recognised_by(record: dict) -> list[str]:
    """The forms that a record fits."""
    return [name for name in forms() if _module(name).recognises(record)]


def with_form(name: str, otherwise: str) -> str:
    """A file's name with its form before the path, as stated or as its records are recognised; `otherwise` for a file
    that no form recognises, so that its reader says what is missing."""
    try:
        base, argument, _ = _resolved(name)
    except BadData:
        return f"{otherwise}:{name}"
    return f"{base}:{argument}" if base in forms() else f"{otherwise}:{name}"


def describe(name: str) -> str:
    """One line about the data set called `name`."""
    return _module(name.partition(":")[0]).DESCRIPTION


def for_model(name: str, model: str) -> str:
    """The data set that `name` stands for at a model: `planned_edits:1-rung` is set 1 of the model's own world.

    Raises:
        BadRequest: the argument names the model's own world, and the model was not trained here.
    """
    base, colon, argument = name.partition(":")
    if not colon or base not in _modules() or not hasattr(_module(base), "for_model"):
        return name
    return f"{base}:{_module(base).for_model(argument, model)}"


def kinds_of(name: str) -> tuple[str, ...]:
    """The edit kinds the data set offers."""
    return _kinds(_module(_resolved(name)[0]))


@lru_cache(maxsize=6)  # requested again with every edit of a session, and a limit is cut from the whole
def _whole(name: str, kind: str, seed: int) -> tuple[Case, ...]:
    """The cases of one of our own data sets without an argument; with one, they may be of a file that changes."""
    return tuple(_module(name).cases(kind, seed, ""))


def _kinds(module: ModuleType) -> tuple[str, ...]:
    return getattr(module, "KINDS", FACTS)


def build_cases(name: str, kind: str, limit: int | None = None, seed: int = 0) -> list[Case]:
    """The cases of `read_cases`, without the account of what was left out."""
    return list(read_cases(name, kind, limit, seed).cases)


def read_cases(name: str, kind: str, limit: int | None = None, seed: int = 0, mostly_bad: bool = False) -> CaseSet:
    """At most `limit` cases (all when None) of one edit kind, and what was left out on the way.

    Of our own data sets a limit takes the first cases, whose order makes every prefix a varied sample; of a file it
    takes a sample drawn with `seed`, or with `#head` behind the path the first ones.

    Args:
        name: a data set, with its argument after a colon where it takes one: "world_facts", "fact_file:mine.json",
            "counterfact:counterfact.json"; or a file whose format is detected: "file:mine.json", "mine.json".
        mostly_bad: whether a file is read of whose records most are left out; it may be misread as a whole.

    Raises:
        BadRequest: an unknown data set, a kind it does not offer, an option its format does not have, a limit below 1.
        BadData: a malformed file; one of whose records most cannot be used, or all.
    """
    base, argument, file = _resolved(name)
    module = _module(base)
    if kind not in _kinds(module):
        raise BadRequest(f"data set {base!r} has no {kind!r} edits; use {', '.join(_kinds(module))}")
    if limit is not None and limit < 1:
        raise BadRequest(f"limit {limit}: ask for at least one case")
    if not hasattr(module, "read"):
        cases = module.cases(kind, seed, argument) if argument else _whole(base, kind, seed)
        return CaseSet(tuple(cases[:limit]), records=len(cases))
    file = file or located(base, argument, getattr(module, "SOURCE", None))
    if file.options and not hasattr(module, "OPTIONS"):
        raise BadRequest(f"{base}: unknown option #{file.options[0]:.60}; use #split=NAME, #head or #encoding=NAME")
    case_set = module.read(file, seed, limit)
    bad = case_set.left_out
    if not mostly_bad and 2 * len({one.record for one in bad}) > case_set.records:
        raise unusable(file.path, bad, case_set.records)
    return case_set
