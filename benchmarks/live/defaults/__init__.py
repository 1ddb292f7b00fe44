"""The settings that `edit` and `retarget` use unless others are given, by kind of edit, and how they were chosen."""

from __future__ import annotations

from collections.abc import Mapping

# Edit kind -> the method used where none is named, and its settings where they are not given. Chosen on development
# concepts by `python -m benchmarks.live.defaults`; results/edit_defaults has the table.
USUAL: dict[str, tuple[str, dict]] = {
    "fact": ("rome", {}),
    "rename": ("rome", {"clamp": 4.0, "depth": 0.85, "keep_weight": 1.0, "site": "attn"}),
    "retarget": ("embedding", {"clamp": 2.0, "optimiser": "adam", "untied": True}),
    "erase": ("ablate", {}),
}


def usual_settings(kind: str, method: str, given: Mapping[str, object]) -> dict:
    """The settings of `method` that edits of one kind have beside the `given` ones; empty for its own defaults.

    They are a place, chosen as a whole: whoever gives a part of a place gets no other part, only the weight of the
    texts that an edit keeps away from. The papers' settings stay as they are.
    """
    name, settings = USUAL[kind]
    if method != name or given.get("preset") == "published":
        return {}
    placed = given.keys() & {"site", "lookup", "depth"}
    return {key: value for key, value in settings.items() if not placed or key == "keep_weight"}
