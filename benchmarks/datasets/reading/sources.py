"""Where the file of a data set comes from: a path that is given, else the published file, fetched once into the cache.

Nothing is fetched without being asked for: only a data set named without a path ("counterfact") is looked for online.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from editing.cache import atomic_file, cache_root
from editing.errors import BadData, BadRequest

TIMEOUT = 20  # seconds without an answer


@dataclass(frozen=True)
class Source:
    """A published file.

    Attributes:
        where: the repository or page it comes from, for whoever fetches it by hand.
        licence: as stated there; "none stated" where there is none.
        url: of the file itself; empty when it has to be placed by hand.
        hub: repository of the Hugging Face hub, with the file's path in it, instead of a url.
        sha256: of the file, where it is known.
    """

    where: str
    licence: str
    url: str = ""
    hub: tuple[str, str] = ("", "")
    sha256: str = ""


@dataclass(frozen=True)
class Argument:
    """What follows the colon of a data set's name: `PATH`, then options, each behind a `#`: `en_fr:join.jsonl#fr`."""

    path: Path
    options: tuple[str, ...] = ()


def located(dataset: str, argument: str, source: Source | None = None) -> Argument:
    """The file that `argument` names, or the published one when it names none.

    Raises:
        BadRequest: no path, and nothing that could be fetched.
        BadData: the published file cannot be fetched, or is another one than it was.
    """
    path, *options = [argument] if is_there(argument) else argument.split("#")
    if path:
        return Argument(Path(path).expanduser(), tuple(options))
    if source is None or not (source.url or source.hub[0]):
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
    """The published file in the cache, fetched if it is not there; its checksum is compared where one is known.

    Raises:
        BadData: no network, offline by choice (`HF_HUB_OFFLINE`), or a wrong checksum.
    """
    name = (source.url or source.hub[1]).rpartition("/")[2]
    path = cache_root() / "datasets" / dataset / name
    by_hand = f"get it from {source.where} (licence: {source.licence}) and write {dataset}:PATH"
    if not path.is_file():
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            raise BadData(f"data set {dataset!r} is not in the cache and HF_HUB_OFFLINE is set; {by_hand}")
        print(f"fetching {source.url or '/'.join(source.hub)} (licence: {source.licence})", file=sys.stderr)
        try:
            _fetch(source, path)
        except (OSError, ValueError) as error:
            raise BadData(f"data set {dataset!r} cannot be fetched ({_first_line(error)}); {by_hand}") from error
    if source.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != source.sha256:
        raise BadData(f"{path}: not the file that was published (its sha256 differs); delete it, then {by_hand}")
    return path


def _fetch(source: Source, path: Path) -> None:
    """Fetch to the side first: a network that fails must not read as a disk that is full."""
    with tempfile.TemporaryFile() as aside:
        if source.url:
            with urllib.request.urlopen(source.url, timeout=TIMEOUT) as answer:
                shutil.copyfileobj(answer, aside)
        else:
            from huggingface_hub import hf_hub_download

            with open(hf_hub_download(*source.hub, repo_type="dataset"), "rb") as file:
                shutil.copyfileobj(file, aside)
        aside.seek(0)
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(aside, file)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
