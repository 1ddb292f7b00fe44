"""Files appear whole or not at all: written beside their place, then moved there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from valley.rows.schema import RowsError


def write_whole(path: Path, write: Callable[[BinaryIO], object], what: str) -> Path:
    """Put what `write` writes at `path` in one step; what was there stays when it fails.

    Raises:
        RowsError: the folder cannot be made or written to, or the disk is full; `what` names the thing.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}", suffix=path.suffix)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RowsError(
            f"{path}: cannot write the {what} ({error.strerror or error}); free space or choose another folder"
        ) from error
    return path
