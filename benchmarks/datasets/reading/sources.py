"""Locates the file of a data set: the path in its name, else the published file, downloaded once.

Only a data set that is named without a path ("counterfact") is looked for online.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.datasets.reading.records import Contents, read_contents
from benchmarks.datasets.reading.values import unread
from editing.cache import cache_root
from editing.errors import BadData, BadRequest


@dataclass(frozen=True)
class Source:
    """A published file.

    Attributes:
        where: the repository or page it comes from, for whoever gets it by hand.
        licence: as stated there; "none stated" where there is none.
        url: of the file itself, at a commit where its server has commits; empty when it has to be placed by hand.
        sha256: of the file; required with a url, so that what is downloaded is what was published.
    """

    where: str
    licence: str
    url: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        if bool(self.url) != bool(re.fullmatch(r"[0-9a-f]{64}", self.sha256)):
            raise ValueError(f"{self.url or self.where}: a url and a sha256 of 64 hexadecimal digits go together")


KEYS_SHOWN = 8
ALIKE = 0.8  # of two keys, as difflib measures it: tagret and target .83, source and subject .46
HEAD, SPLIT, ENCODING = "head", "split=", "encoding="


@dataclass(frozen=True)
class DataFile:
    """What follows the colon of a data set's name: `PATH`, then options, each behind a `#`: `en_fr:join.jsonl#fr`.

    Attributes:
        options: those of the form of the file; the options of every form are taken out of them.
        split: which of several lists of records (`#split=test`).
        encoding: of a text that is in no Unicode form (`#encoding=cp1252`).
        head: whether a limit takes the first cases (`#head`) instead of a sample of all.
    """

    path: Path
    options: tuple[str, ...] = ()
    split: str = ""
    encoding: str = ""
    head: bool = False

    @property
    def records(self) -> Sequence[Any]:
        """See `read_records`; the file is read once."""
        return self.contents.records

    @cached_property
    def contents(self) -> Contents:
        """See `read_contents`."""
        return read_contents(self.path, self.split, self.encoding)

    def notes(self) -> list[str]:
        """One line each about missing or changed values and keys that nothing reads, once the records were parsed."""
        if self.path.is_dir():
            return []
        values = self.contents.values
        unknown = unread(self.records, values.read)
        lines = {
            "missing values left out": _most(values.missing),
            "whole numbers read without their .0": _most(values.whole),
            "keys that nothing reads": _most(unknown, values.read | values.absent),
        }
        return [f"{what}: {keys}" for what, keys in lines.items() if keys]


def _most(counts: Counter[str], known: Iterable[str] = ()) -> str:
    """The most frequent keys with their counts, each followed by the one in `known` that is spelt nearly as it: perhaps
    a slip."""
    shown = []
    for key, count in counts.most_common(KEYS_SHOWN):
        similar = get_close_matches(key.lower(), sorted({*known} - {key}), 1, ALIKE)
        shown.append(f"{key:.40}{''.join(f' [{other}?]' for other in similar)} ({count})")
    return ", ".join(shown) + (f", and {len(counts) - KEYS_SHOWN} more" if len(counts) > KEYS_SHOWN else "")


def located(dataset: str, argument: str, source: Source | None = None) -> DataFile:
    """The file that `argument` names, or the published one when it names none.

    Raises:
        BadRequest: no path, and nothing that could be downloaded.
        BadData: the published file cannot be downloaded, or is another one than it was.
    """
    name, *options = [argument] if is_there(argument) else argument.split("#")
    own = tuple(option for option in options if option != HEAD and not option.startswith((SPLIT, ENCODING)))
    split, encoding = (next((o[len(key) :] for o in options if o.startswith(key)), "") for key in (SPLIT, ENCODING))
    if name:
        path = Path(name).expanduser()
    elif source is None or not source.url:
        there = f"; the files are at {source.where} (licence: {source.licence})" if source else ""
        raise BadRequest(f"data set {dataset!r} needs a file: write {dataset}:PATH{there}")
    else:
        path = fetched(dataset, source)
    return DataFile(path, own, split, encoding, HEAD in options)


def is_there(path: str | Path) -> bool:
    """Whether the path is a file or a folder; a text that cannot be a path (too long, a NUL in it) is none."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def fetched(dataset: str, source: Source) -> Path:
    """The published file in the cache, downloaded if it is not there whole; its checksum is compared every time.

    Raises:
        BadData: no network, offline by choice (`HF_HUB_OFFLINE`), the server sent another file, the cache cannot be
            written.
    """
    import pooch  # its imports take longer than the commands that download nothing

    path = cache_root() / "datasets" / dataset / source.url.rpartition("/")[2]
    if path.is_file() and pooch.file_hash(str(path)) == source.sha256:
        return path
    by_hand = f"get it from {source.where} (licence: {source.licence}) and write {dataset}:PATH"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        state = f"not whole or another one ({path})" if path.exists() else "not in the cache"
        raise BadData(f"data set {dataset!r}: the file is {state} and HF_HUB_OFFLINE is set; {by_hand}")
    print(f"downloading {source.url} (licence: {source.licence})", file=sys.stderr)
    pooch.get_logger().setLevel("WARNING")  # the line above says it
    try:
        pooch.retrieve(source.url, source.sha256, path.name, path.parent, progressbar=sys.stderr.isatty())
        path.chmod(0o644)  # pooch leaves it readable for its owner only
    except (OSError, ValueError) as error:  # ValueError: another checksum; its message has both
        raise BadData(f"data set {dataset!r} cannot be downloaded ({one_line(error)}); {by_hand}") from error
    return path


def one_line(error: Exception) -> str:
    """The message of `error` on one line, cut short."""
    return " ".join((str(error) or type(error).__name__).split())[:400]
