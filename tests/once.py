"""Things that are expensive to make and are shared by all processes of one test session."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

FOLDER = "VALLEY_TEST_FOLDER"  # environment variable that `conftest.py` sets: the session's temporary folder


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` of the session, filled by `make` in the process that comes first; the others wait for it."""
    session = Path(os.environ[FOLDER])
    folder, complete = session / name, session / f"{name}.complete"
    with (session / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, also by a crash
        if not complete.exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder)
            complete.touch()
    return folder
