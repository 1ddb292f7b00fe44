"""Reads a file as a list of records: JSON, JSONL, Parquet, tables (CSV, TSV, any usual delimiter), packed or not.

A file is a list of records, one record, one record a line, a mapping from ids to records (`{"0": {...}, "1": {...}}`),
columns as `DataFrame.to_json()` writes them in any of its orientations, a mapping from splits to lists (`{"train":
[...], "test": [...]}`: one has to be chosen), or a table with a header row. Numbers are kept as they are written, so
that a year stays a year and a huge number costs nothing; only the `.0` that exports of whole numbers add is taken off.
Missing values are left out and counted (`values.py`). Every error is one line with file and record.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from benchmarks.datasets.reading.case_set import Place
from benchmarks.datasets.reading.packed import decode, unpack
from benchmarks.datasets.reading.values import Fields, Listed, Row, Values, Written, cell, constant, whole
from editing.text import find_language

TABLES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
DELIMITERS = ",;\t|"
STATED = re.compile(r"\s*(sep=(.))(?=[\r\n])", re.IGNORECASE)  # the first line, from which Excel takes the delimiter
JSON_LINES = (".jsonl", ".ndjson")
ALL = "all"  # as a split: every one of them
CELL = 10_000_000  # characters of one table cell; longer texts are refused one by one, not with the whole file
Record = Mapping[str, Any]


@cache
def language_key(key: str) -> str:
    """The ISO 639-1 code of the language that a key names ("fr", "fra", "zh-cn", "French"); empty where it names none.

    Languages without a code of two letters are not looked for: "new" and "alt" are such codes.
    """
    code = find_language(key) if isinstance(key, str) and len(key) > 1 else None
    return code if code and len(code) == 2 else ""


@dataclass(frozen=True)
class Contents:
    """The records of a file in its order, as JSON values that are not checked, and what was found beside them."""

    records: Sequence[Any]
    values: Values


def read_records(path: Path, split: str = "", encoding: str = "") -> Sequence[Any]:
    """The records of `read_contents` alone."""
    return read_contents(path, split, encoding).records


def read_contents(path: Path, split: str = "", encoding: str = "") -> Contents:
    """Every record of the file; at least one.

    Args:
        split: which of several lists of records, or ALL of them.
        encoding: of a text that is not in a Unicode form.

    Raises:
        BadData: the file cannot be read as a whole, or it holds several splits and none is chosen.
    """
    place, values = Place(str(path)), Values()
    unpacked = unpack(path, split)
    if unpacked.is_parquet:
        records = _parquet(unpacked.raw, values, place)
    else:
        text = decode(unpacked.raw, place, encoding)
        if not text.strip():
            place.refuse("is empty", "write at least one record")
        records = _of_text(text, PurePath(unpacked.name).suffix.lower(), values, place)
    records = _of_columns(records, values, place)
    records = _of_split(records, "" if unpacked.chosen else split, place)
    if not records:
        place.refuse("holds no record", "write at least one")
    return Contents(records, values)


def _of_text(text: str, suffix: str, values: Values, place: Place) -> Any:
    if suffix in (".json", *JSON_LINES) or text.lstrip()[:1] in ("[", "{"):
        return _json(text, suffix, values, place)
    csv.field_size_limit(min(sys.maxsize, CELL))
    marks = TABLES.get(suffix, ",") + DELIMITERS
    if stated := STATED.match(text):
        text, marks = text[: stated.start(1)] + text[stated.end(1) :], stated[2]
    header = next(filter(str.strip, text.splitlines()), "")
    widths = {mark: len(next(csv.reader([header], delimiter=mark))) for mark in marks}
    delimiter = max(widths, key=widths.__getitem__)
    if suffix not in TABLES and widths[delimiter] == 1:
        place.refuse("is neither JSON nor a table with a header row", "write a list of records as JSON")
    return _table(text, delimiter, values, place)


def _json(text: str, suffix: str, values: Values, place: Place) -> Any:
    try:
        return _parse(text, values)
    except json.JSONDecodeError as whole:
        values.missing.clear()  # of the part before the fault, which is read again line by line
        lines = [line for line in text.split("\n") if line.strip()]
        # A first line that is an object by itself makes it JSONL; otherwise the fault is that of one JSON document.
        try:
            jsonl = len(lines) > 1 and isinstance(_parse(lines[0], Values()), dict)
        except (json.JSONDecodeError, RecursionError):
            jsonl = suffix in JSON_LINES
        if not jsonl:
            place.refuse(
                f"bad JSON at line {whole.lineno}, column {whole.colno} ({whole.msg})", "correct the JSON there"
            )
        return [_line(line, values, Place(place.file, number)) for number, line in enumerate(lines, 1)]
    except RecursionError:
        place.refuse("is nested too deeply", "write a list of flat records")


def _line(line: str, values: Values, place: Place) -> Any:
    try:
        return _parse(line, values)
    except json.JSONDecodeError as error:
        place.refuse(f"bad JSON at column {error.colno} ({error.msg})", "correct the JSON there")
    except RecursionError:
        place.refuse("is nested too deeply", "write a flat record")


def _parse(text: str, values: Values) -> Any:
    return json.loads(
        text, parse_int=Written, parse_float=whole, parse_constant=constant, object_pairs_hook=values.fields
    )


def _parquet(raw: bytes, values: Values, place: Place) -> list[Fields]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(io.BytesIO(raw)).to_pylist(maps_as_pydicts="strict")
    except (pa.ArrowException, OSError, KeyError) as error:
        place.refuse(f"is a damaged Parquet file ({' '.join(str(error).split())[:200]})", "make or download it again")
    cells = [
        [(key, _plain(cell, key, values, Place(place.file, number))) for key, cell in row.items()]
        for number, row in enumerate(rows, 1)
    ]
    kind = Row if all(isinstance(cell, str | bool | None) for row in cells for _, cell in row) else Fields
    return [values.fields(row, kind) for row in cells]


def _plain(cell: Any, column: str, values: Values, place: Place) -> Any:
    try:
        return values.plain(cell)
    except UnicodeDecodeError:
        place.refuse(f"column {column!r:.60} holds bytes that are not UTF-8", "save the column as text")


def _table(text: str, delimiter: str, values: Values, place: Place) -> list[Fields]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    filled = (row for row in reader if any(cell.strip() for cell in row))
    try:
        header = [name.strip() for name in next(filled, [])]
        if len(set(header)) != len(header):
            place.refuse("the header names a column twice", "name each column once")
        rows = [list(map(cell, row)) for row in filled]
    except csv.Error as error:
        place.refuse(f"line {reader.line_num} is no table row ({error})", "quote the text, doubling quotes within")
    for number, row in enumerate(rows, 1):
        if len(row) > len(header):
            Place(place.file, number).refuse(
                f"has {len(row)} cells under {len(header)} headings", "quote cells that hold the separator"
            )
    for i, name in enumerate(header):
        values.make_whole(name, rows, i)
    return [values.fields(list(zip(header, row, strict=False)), Row) for row in rows]


def _of_columns(data: Any, values: Values, place: Place) -> Any:
    """The records of what `DataFrame.to_json` writes (oriented as columns, split or table) or of a dict of lists."""
    if isinstance(data, list) and data and all(isinstance(row, list) for row in data):
        place.refuse("holds rows without the names of their columns", 'write it with to_json(orient="records")')
    if not isinstance(data, dict):
        return data
    if "schema" in data and isinstance(data.get("data"), list):
        return data["data"]
    if set(data) <= {"columns", "index", "data"} and isinstance(data.get("columns"), list):
        rows = [row for row in data.get("data", []) if isinstance(row, list)]
        return [values.fields(list(zip(data["columns"], row, strict=False))) for row in rows]
    columns = list(data.values())
    labelled = all(isinstance(column, dict) and column and all(map(str.isdecimal, column)) for column in columns)
    if labelled and not all(map(str.isdecimal, data)):  # else a mapping from ids to records
        for label in filter(str.isdecimal, tuple(values.missing)):
            del values.missing[label]  # counted by row so far; the rows count them by column
        return _rows(data, _labels(columns), values)
    lists = all(isinstance(column, list) for column in columns)
    splits = lists and all(isinstance(item, dict) for column in columns for item in column)
    if columns and lists and not splits and len({len(column) for column in columns}) == 1:
        return _rows({key: dict(enumerate(column)) for key, column in data.items()}, range(len(columns[0])), values)
    return data


def _labels(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """The labels of the rows in their order, which a column without a missing value has; else as pandas counts them."""
    labels = set().union(*columns)
    longest = max(columns, key=len)
    return list(longest) if len(longest) == len(labels) else sorted(labels, key=int)


def _rows(columns: Mapping[str, Mapping], labels: Sequence, values: Values) -> list[Fields]:
    return [values.fields([(key, column.get(label)) for key, column in columns.items()]) for label in labels]


def _of_split(data: Any, split: str, place: Place) -> Sequence[Any]:
    """The records in whichever container they came, of one split where there are several."""
    if isinstance(data, dict) and data:
        parts = list(data.values())
        if all(isinstance(part, list) and part and all(isinstance(v, dict) for v in part) for part in parts):
            return _chosen(data, split, place)
        if split:
            place.refuse(f"has no splits, so none called {split!r:.60}", "leave out #split")
        if all(isinstance(part, dict) for part in parts) and not all(map(language_key, data)):
            return parts
    if split:
        place.refuse(f"has no splits, so none called {split!r:.60}", "leave out #split")
    return data if isinstance(data, list) else [data]


def _chosen(splits: Mapping[str, list], split: str, place: Place) -> Sequence[Any]:
    if split == ALL or (len(splits) == 1 and not split):
        return [record for part in splits.values() for record in part]
    if split in splits:
        return splits[split]
    names = ", ".join(f"{name:.40} ({len(part)})" for name, part in list(splits.items())[:8])
    why = f"has no split {split!r:.60}; it has" if split else "holds several lists of records,"
    place.refuse(f"{why} {names}".rstrip(), f"choose one: {place.file}#split={next(iter(splits)):.40}, or #split={ALL}")


def check_object(place: Place, record: Any, example: str = '{"key": ...}') -> None:
    """Raises `BadData` unless the record is an object that has each key once."""
    if not isinstance(record, dict):
        place.refuse(f"is {type_name(record)}, not an object", f"write {example}")
    if isinstance(record, Fields) and record.of.repeats and (repeated := first_twice(record)):
        place.refuse(f"the key {repeated!r:.60} stands twice", "keep one")


def type_name(value: Any) -> str:
    """The type of a JSON value, for messages."""
    names = {Written: "a number", Listed: "a list written as text", Fields: "dict", Row: "dict"}
    return names.get(type(value), type(value).__name__)


def first_twice(value: Any) -> str | None:
    """The key that stands twice somewhere in a record; None when there is none."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Fields) and item.twice:
            return item.twice
        if isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list):
            stack += item
    return None
