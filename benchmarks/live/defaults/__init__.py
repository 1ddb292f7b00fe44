"""The settings that `edit` and `retarget` use unless others are given, by kind of edit, and how they were chosen."""

from __future__ import annotations

from collections.abc import Mapping

# Edit kind -> the method used where none is named, and its settings where they are not given. Chosen on development
# concepts by `python -m benchmarks.live.defaults`; results/edit_defaults has the table.
USUAL: dict[str, tuple[str, dict]] = {
    "fact": ("rome", {}),
    "rename": ("rome", {"site": "attn", "depth": 0.8}),
    "retarget": ("embedding", {"clamp": 2.0, "optimiser": "adam", "untied": True}),
    "erase": ("ablate", {}),
}


def usual_settings(kind: str, method: str, given: Mapping[str, object]) -> dict:
    """The settings of `method` that edits of one kind have beside the `given` ones; empty for its own defaults.

    They are a place, chosen as a whole: whoever gives a part of a place, or the papers' settings, gets no other part.
    """
    name, settings = USUAL[kind]
    own = method != name or given.get("preset") == "published" or given.keys() & {"site", "lookup", "depth"}
    return {} if own else dict(settings)
