"""What a run folder says of itself: its run.json, and the keys in which two of them differ."""

from __future__ import annotations

import json
from pathlib import Path

from valley.rows.schema import RowsError

RUN_JSON = "run.json"


def read_run_json(folder: Path) -> dict:
    """The run.json of a run folder.

    Raises:
        RowsError: no run there, or a run.json that is not a JSON object.
    """
    path = Path(folder) / RUN_JSON
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RowsError(f"{folder}: no run there (it has no run.json); name a folder that `bench` wrote") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RowsError(f"{path}: not a readable run.json ({error!s:.80}); restore it from a copy") from error
    if not isinstance(about, dict):
        raise RowsError(f"{path}: not a readable run.json (not an object); restore it from a copy")
    return about


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
