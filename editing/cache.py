"""Where computed things are kept (models, covariances, samples), and how a file or folder gets there in one step."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from editing.errors import BadData

# Every sub-folder of the cache that this project fills.
PARTS = ("crispness", "datasets", "grown", "models", "offload", "statistics", "strength", "timings")
SOURCE = Path(__file__).resolve().parent.parent  # the source tree, or the folder that the packages are installed in


def cache_root() -> Path:
    """The folder of everything computed or downloaded once; it need not exist yet.

    `$VALLEY_CACHE`, else `$EDITBENCH_CACHE` (its former name), else an existing `.cache` in the source tree (where versions
    without an installer kept it), else the user's cache folder (`~/.cache/concept-valley` on Linux).
    """
    chosen = os.environ.get("VALLEY_CACHE") or os.environ.get("EDITBENCH_CACHE")
    if chosen:
        return Path(chosen)
    in_source = SOURCE / ".cache"
    return in_source if in_source.is_dir() else user_cache_path("concept-valley")


def clear_cache() -> list[tuple[Path, int]]:
    """Delete what this project keeps in the cache, trained models included: each folder that was there, and its bytes.

    Other files in the cache's folder stay: `VALLEY_CACHE` may name any folder.
    """
    removed = []
    for folder in (cache_root() / part for part in PARTS):
        if folder.is_dir():
            size = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
            shutil.rmtree(folder)
            removed.append((folder, size))
    return removed


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` that replaces it when the body succeeds and vanishes when it fails.

    Raises:
        BadData: the folder cannot be made or written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise BadData(f"{path}: cannot write there ({error.strerror}); choose another folder or free space") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise BadData(f"{path}: cannot write there ({error.strerror}); choose another folder or free space") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes it when the body succeeds and vanishes when it fails.

    If `path` exists by then (another process was faster) the temporary one is dropped.

    Raises:
        BadData: the parent cannot be made or written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    except OSError as error:
        raise BadData(f"{path}: cannot write there ({error.strerror}); choose another folder or free space") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            os.rename(temporary, path)
        except OSError:
            if not path.is_dir():
                raise
    except OSError as error:
        raise BadData(f"{path}: cannot write there ({error.strerror}); choose another folder or free space") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def main() -> None:
    """Delete the cache and print what is deleted: `python -m editing.cache`, behind `make clean-cache`."""
    removed = clear_cache()
    for folder, size in removed:
        print(f"deleted {folder} ({size / 2**20:.1f} MiB)")
    print(f"{sum(size for _, size in removed) / 2**20:.1f} MiB deleted in {cache_root()}")


if __name__ == "__main__":
    main()
