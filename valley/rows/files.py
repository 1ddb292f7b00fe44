"""Files of a run or a report, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from editing.files import atomic_file


def write_whole(path: Path, content: str | bytes) -> Path:
    """Put `content` at `path` in one step; what was there stays when that fails. Text is UTF-8, lone surrogates become
    "?".

    Raises:
        BadData: the folder cannot be made or written to, or the disk is full.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return path
