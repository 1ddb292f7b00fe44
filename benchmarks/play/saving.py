"""Saved edits of the playground: everything lands in the one chosen folder, whatever a visitor types."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from editing.delta import Delta, export_peft
from editing.errors import BadRequest
from editing.files import atomic_file, write_whole
from editing.model import LanguageModel

LONGEST = 60


def folder_of(root: Path, name: str) -> Path:
    """The folder below `root` for what a visitor called `name`: letters, digits, dot, dash and underscore of it.

    Raises:
        BadRequest: nothing is left of the name, or something of that name is there.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:LONGEST].rstrip(".-")
    if not plain:
        raise BadRequest("an edit is saved under a name with at least one letter or digit, such as my-edit")
    folder = root / plain
    if folder.is_symlink() or folder.exists():
        raise BadRequest(f"{plain} is there already; choose another name")
    return folder


def save(root: Path, name: str, change: Delta, python: str, commands: str) -> list[Path]:
    """Write the change as `NAME/change`, which `Delta.load` reads, beside `NAME/edit.py` and `NAME/edit.sh`: the paths.

    Raises:
        BadRequest: no such name, or nothing to save.
        BadData: the folder cannot be written.
    """
    folder = folder_of(root, name)
    if not (change.factors or change.context):
        raise BadRequest("there is no edit to save; make one first")
    written = [change.save(folder / "change")]
    for file, text in (("edit.py", python), ("edit.sh", commands)):
        written.append(write_whole(folder / file, text))
    return written


def export(root: Path, name: str, change: Delta, lm: LanguageModel) -> Path:
    """Write the change as a PEFT adapter, `NAME/`, and the same as `NAME.zip`: the path of the archive.

    Raises:
        BadRequest: no such name, or a change without an adapter form.
        BadData: the folder cannot be written.
    """
    folder = folder_of(root, name)
    archive = folder.with_name(f"{folder.name}.zip")
    if archive.exists():
        raise BadRequest(f"{archive.name} is there already; choose another name")
    made = export_peft(change, lm, folder).folder
    with atomic_file(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(made.iterdir()):
            file.write(path, f"{folder.name}/{path.name}")
    return archive
