"""Plans of sweeps that come with the program, as TOML files; `benchmarks/sweep/planning/plan_file.py` has the keys. A
new plan is one new file."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from editing.errors import BadData

_FOLDER = Path(__file__).parent


def plan_names() -> tuple[str, ...]:
    """The plans that come with the program, by alphabet."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def plan_path(plan: str | Path) -> Path:
    """The file of a plan: of that name here, else the path itself.

    Raises:
        BadData: a name that is none here, and no file of that name either.
    """
    if str(plan) in plan_names():
        return _FOLDER / f"{plan}.toml"
    path = Path(plan)
    if re.fullmatch(r"[\w-]{1,100}", str(plan)) and not path.exists():
        near = difflib.get_close_matches(str(plan), plan_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(plan_names())}."
        raise BadData(f"plan {str(plan)!r:.120}: no such plan; {hint} Or give the path of a TOML file")
    return path
