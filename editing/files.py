"""Files and folders that appear whole or not at all (written beside their place, then moved there), and hashes of
values."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from editing.cache import cache_root
from editing.errors import BadData

TRIED_BYTES = 64 * 1024


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A failure to write in the body is a BadData that names `path`, the reason and what to do."""
    try:
        yield
    except Exception as error:
        # safetensors, which `valley` reads this module without, has an error class of its own for a full disk
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
            raise
        reason = getattr(error, "strerror", None) or str(error)
        remedy = "set VALLEY_CACHE to another folder" if path.is_relative_to(cache_root()) else "choose another folder"
        raise BadData(f"{path}: cannot write there ({reason}); {remedy} or free space") from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` that replaces it when the body succeeds and vanishes when it fails.

    Raises:
        BadData: the folder cannot be made or written to, or the disk is full.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def read_toml(path: Path, what: str, most_bytes: int = 5_000_000) -> dict[str, Any]:
    """The tables of a TOML file that a user wrote; a byte order mark may stand before them.

    Args:
        what: what the file is, for messages, such as "plan".

    Raises:
        BadData: it cannot be read, is too large, or is not TOML; names file, line and column.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise BadData(f"{path}: larger than {most_bytes:,} bytes, too large for a {what}")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadData(f"{path}: cannot be read ({error.strerror}); check the path of the {what}") from error
    except (ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise BadData(f"{path}: not readable as TOML ({problem:.160}); correct that line") from error


def write_whole(path: Path, content: str | bytes) -> Path:
    """Put `content` at `path` in one step; what was there stays when that fails. Text is UTF-8, lone surrogates become
    "?".

    Raises:
        BadData: the folder cannot be made or written to, or the disk is full.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)
    return path


def made_folder(path: Path) -> Path:
    """The folder, made where it is not there yet; a file is tried in it, so that a full or read-only disk shows before
    the work.

    Raises:
        BadData: it cannot be made or written to.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(TRIED_BYTES))
    return path


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes it when the body succeeds and vanishes when it fails.

    If `path` exists by then (another process was faster) the temporary one is dropped.

    Raises:
        BadData: the parent cannot be made or written to, or the disk is full.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            try:
                os.rename(temporary, path)
            except OSError:
                if not path.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time is in the body, which makes `folder`; the others wait. The lock file lies beside it.

    Raises:
        BadData: the parent cannot be made or written to.
    """
    from filelock import FileLock

    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def canonical(value: object) -> str:
    """JSON text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON text of a value."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()
