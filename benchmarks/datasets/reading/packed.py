"""From the bytes of a file to its text or its Parquet table: compression, encodings, and names for what is neither.

What a file is, is read from its first bytes, not from its name: gzip, bzip2, xz and zip are unpacked; text is UTF-8,
UTF-16 or UTF-32, with or without a byte order mark. Any other encoding has to be stated (`PATH#encoding=cp1252`): a
guess may be wrong in silence.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO

from benchmarks.datasets.reading.case_set import Place

MOST_BYTES = 4 << 30  # of an unpacked file; a small file that claims more is a mistake or an attack
PARQUET = b"PAR1"
ZIP = b"PK\x03\x04"
STREAMS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
PACKED = (".gz", ".bz2", ".xz", ".zip", ".lzma")
# First bytes -> what such a file is, for files that people take for data.
NAMED = {
    b"\x28\xb5\x2f\xfd": "a Zstandard archive; unpack it with zstd -d",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"%PDF": "a PDF document; export its table as CSV",
    b"SQLite format 3": "an SQLite database; export its table as CSV",
    b"\x89HDF": "an HDF5 file; export its table as Parquet or JSON",
    b"ARROW1": "an Arrow file; save it as Parquet",
    b"\x93NUMPY": "a NumPy array; save its records as JSON",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file; save it as CSV",
    b"\x89PNG": "a picture; name a file of records",
    b"\xff\xd8\xff": "a picture; name a file of records",
    b"version https://git-lfs": "a Git LFS pointer and not the file itself; fetch it with git lfs pull",
    b"\x80\x02": "a pickle, which can run code when it is loaded; save its records as JSON",
    b"\x80\x03": "a pickle, which can run code when it is loaded; save its records as JSON",
    b"\x80\x04": "a pickle, which can run code when it is loaded; save its records as JSON",
    b"\x80\x05": "a pickle, which can run code when it is loaded; save its records as JSON",
}
PAGES = (b"<!doctype html", b"<html", b"<?xml")


@dataclass(frozen=True)
class Unpacked:
    """Bytes of a file without its compression.

    Attributes:
        name: that it had inside, which may say what it is.
        chosen: whether it is the member chosen from an archive of several files.
    """

    raw: bytes
    name: str
    chosen: bool = False

    @property
    def is_parquet(self) -> bool:
        return self.raw[:4] == PARQUET


def unpack(path: Path, member: str = "") -> Unpacked:
    """The file without its compression.

    Args:
        member: which file of a zip archive, by its full name, its name without folders, or also without its suffix.

    Raises:
        BadData: not there, not readable, a damaged archive, several files in it and none chosen, or a kind of file that
            holds no records; the message names the kind.
    """
    place = Place(str(path))
    raw, name, chosen = _bytes(path, place), path.name, False
    for _ in range(3):  # an archive may hold a packed file
        stream = next((opener for magic, opener in STREAMS.items() if raw.startswith(magic)), None)
        try:
            if stream is not None:
                with stream(io.BytesIO(raw)) as opened:
                    raw = _limited(opened, place)
                name = name.removesuffix(PurePath(name).suffix) if name.lower().endswith(PACKED) else name
            elif raw.startswith(ZIP):
                raw, name, of_several = _from_zip(raw, member, place)
                chosen = chosen or of_several
            else:
                break
        except (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
            place.refuse(f"is a damaged archive ({' '.join(str(error).split())})", "make or download it again")
    _refuse_other_kinds(raw, place)
    return Unpacked(raw, name, chosen)


def _bytes(path: Path, place: Place) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        place.refuse("no such file", "check the path")
    except IsADirectoryError:
        place.refuse("is a folder", "name a JSON or JSONL file in it")
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte
        place.refuse(f"cannot be read ({getattr(error, 'strerror', None) or error})", "check its permissions")


def _limited(stream: IO[bytes], place: Place) -> bytes:
    raw = stream.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        place.refuse(f"unpacks to more than {MOST_BYTES >> 30} GiB", "cut it into smaller files")
    return raw


def _from_zip(raw: bytes, member: str, place: Place) -> tuple[bytes, str, bool]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = [one for one in archive.namelist() if not one.endswith("/") and not one.startswith("__MACOSX/")]
        if any(name.startswith("xl/") for name in names):
            place.refuse("is an Excel workbook", "save its sheet as CSV")
        if any(name.endswith("data.pkl") for name in names):
            place.refuse("holds a pickle, which can run code when it is loaded", "save its records as JSON")
        if not names:
            place.refuse("is an archive without files", "name one that holds records")
        several = len(names) > 1
        chosen = _members(names, member) if member and several else names
        if len(chosen) != 1:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            example = next((one for one in _spellings(names[0])[::-1] if len(_members(names, one)) == 1), names[0])
            place.refuse(f"is an archive of {len(names)} files ({shown})", f"choose one: {place.file}#split={example}")
        with archive.open(chosen[0]) as opened:
            return _limited(opened, place), PurePath(chosen[0]).name, several


def _members(names: list[str], member: str) -> list[str]:
    """The files that `member` names; its full name alone where that is one."""
    return [member] if member in names else [name for name in names if member in _spellings(name)]


def _spellings(name: str) -> tuple[str, str, str]:
    """What a file of an archive may be called, from its full name to the shortest."""
    return name, PurePath(name).name, PurePath(name).stem


def _refuse_other_kinds(raw: bytes, place: Place) -> None:
    kind = next((kind for magic, kind in NAMED.items() if raw.startswith(magic)), "")
    if raw[257:262] == b"ustar":
        kind = "a tar archive; unpack it"
    elif raw[:200].lstrip().lower().startswith(PAGES):
        kind = "a web page or XML, not data; download the file itself"
    if kind:
        place.refuse(*(f"is {kind}".split("; ", 1)))


def decode(raw: bytes, place: Place, encoding: str = "") -> str:
    """The bytes as text, without a byte order mark.

    Args:
        encoding: as Python names it; empty is UTF-8, or UTF-16 or UTF-32 where the first bytes show it.

    Raises:
        BadData: no such encoding, or the bytes are not of it; the message has the likely encoding.
    """
    name = encoding or json.detect_encoding(raw)
    try:
        return raw.decode(name).removeprefix("\ufeff")
    except LookupError:
        place.refuse(f"unknown encoding {encoding!r:.40}", "write one that Python knows, such as cp1252 or gb18030")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        place.refuse(f"line {line} is not {name.upper().removesuffix('-SIG')}{_likely(raw)}", "save the file as UTF-8")


def _likely(raw: bytes) -> str:
    """The encoding that a text in no Unicode form probably has, as part of a message."""
    from charset_normalizer import from_bytes  # only for files that cannot be read otherwise

    guesses = from_bytes(raw[:100_000])
    if (best := guesses.best()) is None:
        return ""
    names = [best.encoding]
    # A few letters do not tell Western code pages apart, and this is by far the most frequent.
    if any("cp1252" in one.could_be_from_charset for one in guesses):
        names = ["cp1252", *(name for name in names if name != "cp1252")]
    look = f"write #encoding={names[0]} behind the path and look with `datasets show`"
    return f", perhaps {' or '.join(names)} ({look})"
