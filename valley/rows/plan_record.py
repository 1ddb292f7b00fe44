"""The analysis plan of a run as it is kept: `analysis_plan.json`, written once, before the first test cell or score.

It holds the fields of the plan and their SHA-256. What the fields mean says
`valley.scores.AnalysisPlan`; a sweep, which knows nothing of scores, stores them as it was given them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from editing.files import atomic_file, writing
from valley.rows.run import RowsError

PLAN_FILE = "analysis_plan.json"


def plan_digest(fields: Mapping[str, Any]) -> str:
    """SHA-256 of a plan's fields as canonical JSON."""
    return hashlib.sha256(json.dumps(dict(fields), sort_keys=True).encode()).hexdigest()


def store_plan(run: Path, fields: Mapping[str, Any]) -> bool:
    """Write the plan of a run folder, whole, unless there is one already: whether this call wrote it.

    Raises:
        BadData: the folder cannot be written.
    """
    path = Path(run) / PLAN_FILE
    if path.exists():
        return False
    text = json.dumps({"sha256": plan_digest(fields), "plan": dict(fields)}, indent=2) + "\n"
    own = path.with_name(f".{PLAN_FILE}.{os.getpid()}")
    try:
        with writing(path):
            with atomic_file(own) as temporary:
                temporary.write_text(text, encoding="utf-8")
            with suppress(FileExistsError):  # another process has just written one
                os.link(own, path)
                return True
    finally:
        own.unlink(missing_ok=True)
    return False


def stored_plan(run: Path) -> tuple[dict[str, Any], str] | None:
    """The fields and the digest of the plan of a run folder; None where none is stored.

    Raises:
        RowsError: a file that is no plan, or one changed by hand.
    """
    path = Path(run) / PLAN_FILE
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        fields, digest = dict(record["plan"]), str(record["sha256"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RowsError(f"{path}: not an analysis plan ({error}); delete it to state a new one") from error
    if plan_digest(fields) != digest:
        raise RowsError(f"{path}: the plan and its hash differ, so it was changed by hand; restore it or delete it")
    return fields, digest
