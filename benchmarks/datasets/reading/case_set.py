"""What reading a data set gives: its cases, an account of every record that became none, and where a fault is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from benchmarks.cases import Case
from editing.errors import BadData

SHOWN = 5


@dataclass(frozen=True)
class Place:
    """Where in a file we are, for messages."""

    file: str
    record: int = 0

    def refuse(self, why: str, fix: str) -> NoReturn:
        where = f"{self.file}: record {self.record}" if self.record else self.file
        raise BadData(f"{where}: {why}; {fix}")


@dataclass(frozen=True)
class LeftOut:
    """A record that became no case: its number, counted from 1, and one line with place, reason and fix."""

    record: int
    reason: str


@dataclass(frozen=True)
class CaseSet:
    """The cases of a data set.

    Attributes:
        cases: in the order of the data set.
        left_out: the records that became no case.
        records: how many records there are, those beyond a limit included.
        notes: one line each about parts of records that are not evaluated.
        readings: one line each about what records leave open, and how they are read.
    """

    cases: tuple[Case, ...]
    left_out: tuple[LeftOut, ...] = ()
    records: int = 0
    notes: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()


def account(name: str, left_out: Sequence[LeftOut], records: int, notes: Sequence[str] = ()) -> tuple[str, ...]:
    """What was left out of data set `name`, one line each: the first five reasons, the total, the notes."""
    lines = list(dict.fromkeys(one.reason for one in left_out))[:SHOWN]
    if left_out:
        lines.append(f"{name}: {len(left_out)} of {records} records left out")
    return (*lines, *(f"{name}: {note}" for note in notes))


class Edit(Protocol):
    """What a record says of its edit.

    Attributes:
        lang: ISO 639 code of its prompt.
        named: whether the record names that language.
        mentions: how often the prompt names the subject.
    """

    @property
    def lang(self) -> str: ...
    @property
    def named(self) -> bool: ...
    @property
    def mentions(self) -> int: ...


def readings_of(edits: Sequence[Edit]) -> list[str]:
    """One line each about what the records of a file leave open, and how they are read."""
    lines = []
    several = sum(one.mentions > 1 for one in edits)
    if several:
        lines.append(f"{several} prompts name their subject more than once; the last mention is edited")
    langs = Counter(one.lang for one in edits if not one.named)
    if langs:
        each = ", ".join(f"{lang} ({count})" for lang, count in langs.most_common())
        lines.append(f"{langs.total()} records name no language; by their script they are read as {each}")
    return lines


def unusable(path: Path, bad: Sequence[LeftOut], records: int) -> BadData:
    """What is raised for a file whose records, or most of them, cannot be used."""
    count = len({one.record for one in bad})
    return BadData(f"{path}: {count} of {records} records cannot be used; fix the first: {bad[0].reason}")
