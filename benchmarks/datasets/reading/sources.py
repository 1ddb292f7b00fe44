"""Locates the file of a data set: the path in its name, else the published file, downloaded once.

Only a data set that is named without a path ("counterfact") is looked for online.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Argument:
    """What follows the colon of a data set's name: `PATH`, then options, each behind a `#`: `en_fr:join.jsonl#fr`."""

    path: Path
    options: tuple[str, ...] = ()


def located(dataset: str, argument: str, source: Source | None = None) -> Argument:
    """The file that `argument` names, or the published one when it names none.

    Raises:
        BadRequest: no path, and nothing that could be downloaded.
        BadData: the published file cannot be downloaded, or is another one than it was.
    """
    path, *options = [argument] if is_there(argument) else argument.split("#")
    if path:
        return Argument(Path(path).expanduser(), tuple(options))
    if source is None or not source.url:
        there = f"; the files are at {source.where} (licence: {source.licence})" if source else ""
        raise BadRequest(f"data set {dataset!r} needs a file: write {dataset}:PATH{there}")
    return Argument(fetched(dataset, source), tuple(options))


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
