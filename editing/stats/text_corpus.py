"""The corpus "text:PATH": a text file, or a folder of them."""

from __future__ import annotations

from pathlib import Path

from editing.errors import BadData


def read_texts(value: str) -> list[str]:
    """The texts at PATH, in the order of their files' names.

    Raises:
        BadData: nothing there, not UTF-8, or blank.
    """
    path = Path(value)
    files = sorted(path.glob("**/*.txt")) if path.is_dir() else [path]
    try:
        texts = [f.read_text(encoding="utf-8-sig") for f in files]
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(
            f"corpus {value}: cannot be read ({error}); name a UTF-8 text file or a folder of .txt"
        ) from error
    if not any(t.strip() for t in texts):
        raise BadData(f"corpus {value}: holds no text; name a UTF-8 text file or a folder of .txt files")
    return texts
