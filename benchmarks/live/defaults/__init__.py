"""The settings that `edit` and `retarget` use unless others are given, by kind of edit, and how they were chosen."""

from __future__ import annotations

# Edit kind -> the method used where none is named, and its settings where they are not given. Chosen on development
# concepts by `python -m benchmarks.live.defaults`; results/edit_defaults has the table.
USUAL: dict[str, tuple[str, dict]] = {
    "fact": ("rome", {}),
    "rename": ("rome", {}),
    "retarget": ("rome", {}),
    "erase": ("ablate", {}),
}


def usual_settings(kind: str, method: str) -> dict:
    """The settings of `method` that edits of one kind have unless others are given; empty for its own defaults."""
    name, settings = USUAL[kind]
    return dict(settings) if method == name else {}
