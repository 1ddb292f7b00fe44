"""Values as files hold them: numbers as written, objects that remember their keys, and what counts as missing."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

WHOLE = re.compile(r"-?[0-9]+(\.0)?")
MISSING = ("nan", "NaN", "<NA>")  # how exports of pandas spell a missing value as text
# How tables spell one besides: what pandas reads as missing, and the sign of MySQL.
ABSENT = ("#N/A", "N/A", "n/a", "NA", "NULL", "null", "None", "NaT", r"\N")
LISTED = re.compile(r"""\s*[\[{]\s*[\[{'"].*[\]}]\s*""", re.DOTALL)


class Written(str):
    """A number as it is written in the file."""

    __slots__ = ()


class Listed(str):
    """A list or an object that a cell of a table holds as text, as pandas writes one: no text to ask for."""

    __slots__ = ()


def cell(said: str) -> str:
    """A cell of a table: empty where it stands for a missing value or an empty list, `Listed` where it holds a list."""
    if said in ABSENT or said == "[]":
        return ""
    return Listed(said) if said[:1] in ("[", "{") and LISTED.fullmatch(said) else said


class Fields(dict):
    """An object of a file without its missing values.

    Attributes:
        of: what is known of the file; `fields.look` adds the keys that were read, and those that were absent.
        twice: the first key that stands twice; empty where there is none.
    """

    __slots__ = ("of", "twice")
    of: Values
    twice: str


class Row(Fields):
    """A row of a table: every value is a text."""

    __slots__ = ()


def alike(record: Mapping[str, Any], items: Mapping[str, Any]) -> Fields:
    """Other keys and values as an object of the same file as `record`."""
    made = Fields(items)
    made.of, made.twice = record.of if isinstance(record, Fields) else Values(), ""
    return made


def is_missing(value: Any) -> bool:
    """Whether a value says nothing: null, NaN, blank, empty, or a list of such values. False and 0 are values."""
    if isinstance(value, str):
        return not value or value.isspace() or value in MISSING
    if isinstance(value, list):
        return all(is_missing(item) for item in value)
    return value is None or value == {}


class Values:
    """Makes the objects of one file, and counts the missing values that it leaves out.

    Attributes:
        missing: key -> how often its value was missing.
        read: names of the keys that were read in any object. absent: of those that were looked for in one without them.
        repeats: whether a key stands twice in some object.
        whole: column of a table -> in how many cells a whole number was written with `.0`.
    """

    def __init__(self) -> None:
        self.missing: Counter[str] = Counter()
        self.read: set[str] = set()
        self.absent: set[str] = set()
        self.repeats = False
        self.whole: Counter[str] = Counter()

    def fields(self, pairs: Sequence[tuple[str, Any]], kind: type[Fields] = Fields) -> Fields:
        """The object with these keys and values; `object_pairs_hook` of the JSON reader."""
        made = kind(pairs)
        made.of, made.twice = self, ""
        if len(made) != len(pairs):
            self.repeats = True
            counts = Counter(key for key, _ in pairs)
            made.twice = next(key for key, count in counts.items() if count > 1)
        for key, value in pairs:
            if type(value) is str and value and value[0].isalnum() and value not in MISSING:  # the usual case
                continue
            if is_missing(value):
                self.missing[key] += 1
                made.pop(key, None)
        return made

    def make_whole(self, name: str, rows: Sequence[list[str]], i: int) -> None:
        """Takes `.0` off cell `i` of each row where that column holds whole numbers only.

        pandas writes a column of integers in which one is missing as `1998.0`; a table does not say which it is.
        """
        written = [row for row in rows if len(row) > i and not is_missing(row[i])]
        if all(WHOLE.fullmatch(row[i]) for row in written):
            for row in written:
                if row[i].endswith(".0"):
                    row[i] = whole(row[i])
                    self.whole[name] += 1

    def plain(self, value: Any) -> Any:
        """A value of Python as one that a JSON file would have given; bytes are text that its writer did not declare.

        Raises:
            UnicodeDecodeError: bytes that are not UTF-8.
        """
        if isinstance(value, Mapping):
            return self.fields([(str(key), self.plain(item)) for key, item in value.items()])
        if isinstance(value, list | tuple):
            return [self.plain(item) for item in value]
        if isinstance(value, bytes):
            return value.decode()
        if value is None or isinstance(value, str | bool):
            return value
        if isinstance(value, float):
            return None if math.isnan(value) else Written(int(value) if value.is_integer() else value)
        if isinstance(value, date):  # a time of midnight is what pandas adds to a date
            return value.isoformat().removesuffix("T00:00:00")
        return Written(value)


def whole(number: str) -> Written:
    """A number as it is written, without the `.0` of a whole one."""
    return Written(number.removesuffix(".0"))


def constant(name: str) -> Written | None:
    """JSON's `NaN` as a missing value, `Infinity` as it is written."""
    return None if name == "NaN" else Written(name)


def unread(records: Iterable[Any], read: set[str]) -> Counter[str]:
    """Key -> in how many objects it stands although no reader looks at it; what is within such a key is not counted."""
    counts: Counter[str] = Counter()
    stack = [record for record in records if isinstance(record, dict)]
    while stack:
        for key, value in stack.pop().items():
            if key not in read:
                counts[key] += 1
            elif isinstance(value, dict):
                stack.append(value)
            elif isinstance(value, list) and value and isinstance(value[0], dict):
                stack += [item for item in value if isinstance(item, dict)]
    return counts
