"""What a run folder says of itself: its run.json, and the keys in which two of them differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from editing.errors import BadData
from editing.files import digest

RUN_JSON = "run.json"
SCHEMA_VERSION = 1  # of the table in `valley/rows/schema.py`
# What the entries of run.json are, where they are there.
KINDS = {
    "agreement": dict, "asked": list, "commit": str, "doses": list, "expected": int, "extensions": list,
    "fixed_at": str, "known_development": dict, "machine": str, "overrides": dict, "packed": dict, "plan": dict,
    "plan_hash": str, "schema": int, "search_rule": int, "skipped": list, "versions": dict,
}  # fmt: skip
OF_MAPPINGS = ("asked", "extensions")  # lists whose entries are mappings


class RowsError(BadData):
    """A run folder or table that cannot be read as rows; one line that names the file and the fix."""


def read_run_json(folder: Path) -> dict:
    """The run.json of a run folder.

    Raises:
        RowsError: no run there; a run.json that is not a JSON object, holds an entry of a wrong kind, is of a newer
            version, or holds a plan that was changed by hand.
    """
    path = Path(folder) / RUN_JSON
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RowsError(f"{folder}: no run there (it has no run.json); name a folder that `bench` wrote") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RowsError(f"{path}: not a readable run.json ({error!s:.80}); restore it from a copy") from error
    wrong = _of_wrong_kind(about)
    if wrong:
        raise RowsError(f"{path}: not a readable run.json ({wrong}); restore it from a copy")
    if (newer := about.get("schema", SCHEMA_VERSION)) > SCHEMA_VERSION:
        raise RowsError(f"{path}: of a newer version (schema {newer}, this is {SCHEMA_VERSION}); update the program")
    if _changed_by_hand(about):
        raise RowsError(f"{path}: a plan in it and its hash differ, so it was changed by hand; restore the file")
    return about


def _of_wrong_kind(about: object) -> str:
    """What is wrong with the first entry of a run.json that is not of its kind; empty where all are."""
    if not isinstance(about, dict):
        return "not an object"
    for key, kind in KINDS.items():
        if key in about and not isinstance(about[key], kind):
            return f"{key} {about[key]!r:.40} is no {kind.__name__}"
    for key in OF_MAPPINGS:
        if not all(isinstance(one, dict) for one in about.get(key, ())):
            return f"{key} {about[key]!r:.40} is no list of objects"
    return ""


def _changed_by_hand(about: Mapping) -> bool:
    """Whether the plan of a run.json, or that of an extension, does not have the hash that stands beside it."""
    return any(
        "plan" in one and one.get("plan_hash", "") not in ("", digest(one["plan"]))
        for one in (about, *about.get("extensions", ()))
    )


def run_record(folder: Path | None) -> dict:
    """The run.json of a run folder; empty where there is no folder, or no such file in it (rows from elsewhere).

    Raises:
        RowsError: as `read_run_json`.
    """
    return read_run_json(folder) if folder is not None and (Path(folder) / RUN_JSON).is_file() else {}


def extension_note(folder: Path | None) -> str:
    """One line about what was added to a run after its first results; empty where nothing was.

    Raises:
        RowsError: as `read_run_json`.
    """
    listed = run_record(folder).get("extensions", [])
    made = [
        f"{one['time']} (plan {one['plan_hash'][:16]}): {', '.join(line.split(':')[0] for line in one['adds'])}"
        for one in listed
    ]
    return f"the run was extended, {'; '.join(made)}; the column extension names the rows" if made else ""


def unequal_keys(one: dict, other: dict) -> list[str]:
    """Keys whose values differ, or that only one of the two has, in the order of `one`."""
    return [key for key in dict.fromkeys((*one, *other)) if one.get(key) != other.get(key)]
