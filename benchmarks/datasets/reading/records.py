"""Reads JSON, JSONL, CSV and TSV files as lists of records; every error is one line with file and record.

A file is a list of records, one record, one record a line, a mapping from ids to records (`{"0": {...}, "1": {...}}`),
a mapping from splits to lists (`{"train": [...]}`), or a table with a header row. Numbers are kept as they are written
(`Written`), so that a year stays a year and a huge number costs nothing; a key given twice is remembered (`Twice`) and
refused when its record is looked at.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from editing.errors import BadData

TABLES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
CELL = 10_000_000  # characters of one table cell; longer texts are refused one by one, not with the whole file
LANGUAGE = re.compile(r"[a-z]{2}")
Record = Mapping[str, Any]


class Written(str):
    """A JSON number as it is written in the file."""

    __slots__ = ()


class Twice(dict):
    """A JSON object in which a key stands twice; `key` is the first of them."""

    key = ""


@dataclass(frozen=True)
class Place:
    """Where in the file we are, for messages."""

    file: str
    record: int = 0

    def refuse(self, why: str, fix: str) -> NoReturn:
        where = f"{self.file}: record {self.record}" if self.record else self.file
        raise BadData(f"{where}: {why}; {fix}")


def read_text(path: Path) -> str:
    """The file as text.

    Raises:
        BadData: not there, not readable, not UTF-8.
    """
    place = Place(str(path))
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        place.refuse("no such file", "check the path")
    except IsADirectoryError:
        place.refuse("is a folder", "name a JSON or JSONL file in it")
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte
        place.refuse(f"cannot be read ({getattr(error, 'strerror', None) or error})", "check its permissions")
    if b"\0" in raw:
        place.refuse("holds NUL bytes, so it is no text (perhaps UTF-16)", "save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        place.refuse(f"line {line} is not UTF-8", "save the file as UTF-8")


def read_records(path: Path) -> Sequence[Any]:
    """Every record of the file, in its order, as JSON values; at least one. They are not checked.

    Raises:
        BadData: the file cannot be read as a whole.
    """
    text, place = read_text(path), Place(str(path))
    if not text.strip():
        place.refuse("is empty", "write at least one record")
    if path.suffix.lower() in TABLES:
        records = _table(text, TABLES[path.suffix.lower()], place)
    else:
        records = _unwrapped(_json(text, path, place))
    if not records:
        place.refuse("holds no record", "write at least one")
    return records


def _json(text: str, path: Path, place: Place) -> Any:
    try:
        return _parse(text)
    except json.JSONDecodeError as whole:
        lines = [line for line in text.split("\n") if line.strip()]
        # A first line that is an object by itself makes it JSONL; otherwise the fault is that of one JSON document.
        try:
            jsonl = len(lines) > 1 and isinstance(_parse(lines[0]), dict)
        except (json.JSONDecodeError, RecursionError):
            jsonl = path.suffix.lower() in (".jsonl", ".ndjson")
        if not jsonl:
            place.refuse(
                f"bad JSON at line {whole.lineno}, column {whole.colno} ({whole.msg})", "correct the JSON there"
            )
        return [_line(line, Place(str(path), number)) for number, line in enumerate(lines, 1)]
    except RecursionError:
        place.refuse("is nested too deeply", "write a list of flat records")


def _line(line: str, place: Place) -> Any:
    try:
        return _parse(line)
    except json.JSONDecodeError as error:
        place.refuse(f"bad JSON at column {error.colno} ({error.msg})", "correct the JSON there")
    except RecursionError:
        place.refuse("is nested too deeply", "write a flat record")


def _parse(text: str) -> Any:
    return json.loads(
        text, parse_int=Written, parse_float=Written, parse_constant=Written, object_pairs_hook=_object_of
    )


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    made, seen = Twice(made), set()
    made.key = next(key for key, _ in pairs if key in seen or seen.add(key))
    return made


def _unwrapped(data: Any) -> Sequence[Any]:
    """The records in whichever container they came."""
    if isinstance(data, list):
        return data
    if isinstance(data, dict) and data:
        values = list(data.values())
        if all(isinstance(value, list) and value and all(isinstance(v, dict) for v in value) for value in values):
            return [record for value in values for record in value]
        if all(isinstance(value, dict) for value in values) and not all(LANGUAGE.fullmatch(key) for key in data):
            return values
    return [data]


def _table(text: str, delimiter: str, place: Place) -> list[dict[str, str]]:
    csv.field_size_limit(min(sys.maxsize, CELL))
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows)]
        if len(set(header)) != len(header):
            place.refuse("the header names a column twice", "name each column once")
        return list(_rows(rows, header, place))
    except csv.Error as error:
        place.refuse(f"line {rows.line_num} is no table row ({error})", "quote the text, doubling quotes within")


def _rows(rows: Iterator[list[str]], header: Sequence[str], place: Place) -> Iterator[dict[str, str]]:
    for number, row in enumerate((row for row in rows if any(cell.strip() for cell in row)), 1):
        if len(row) > len(header):
            Place(place.file, number).refuse(
                f"has {len(row)} cells under {len(header)} headings", "quote cells that hold the separator"
            )
        yield {name: cell for name, cell in zip(header, row, strict=False) if cell.strip()}


def check_object(place: Place, record: Any, example: str = '{"key": ...}') -> None:
    """Raises `BadData` unless the record is an object that has each key once."""
    if not isinstance(record, dict):
        place.refuse(f"is {type_name(record)}, not an object", f"write {example}")
    if repeated := first_twice(record):
        place.refuse(f"the key {repeated!r:.60} stands twice", "keep one")


def type_name(value: Any) -> str:
    """The type of a JSON value, for messages."""
    return "a number" if isinstance(value, Written) else type(value).__name__


def first_twice(value: Any) -> str | None:
    """The key that stands twice somewhere in a record; None when there is none."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Twice):
            return item.key
        if isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list):
            stack += item
    return None
