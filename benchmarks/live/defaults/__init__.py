"""The settings that `edit` and `retarget` use unless others are given, by kind of edit, and how they were chosen."""

from __future__ import annotations

from collections.abc import Mapping

# Edit kind -> the method used where none is named, and its settings where they are not given. Chosen on development
# concepts by `python -m benchmarks.live.defaults`; results/edit_defaults has the table.
USUAL: dict[str, tuple[str, dict]] = {
    "fact": ("rome", {}),
    "rename": ("unembedding", {"keep_weight": 1.0, "margin": 0.5, "pull": 0.5}),
    "retarget": ("embedding", {"clamp": 2.0, "optimiser": "adam", "stop_loss": 0.05, "untied": True}),
    "erase": ("ablate", {}),
}
# Edit kind and another method -> the settings that were best for it there.
OTHERS: dict[tuple[str, str], dict] = {
    ("rename", "rome"): {"clamp": 4.0, "depth": 0.85, "keep_weight": 1.0, "site": "attn"},
}


def usual_settings(kind: str, method: str, given: Mapping[str, object]) -> dict:
    """The settings of `method` that edits of one kind have beside the `given` ones; empty for its own defaults.

    They are a place, chosen as a whole: whoever gives a part of a place gets no other part, only the weight of the
    texts that an edit keeps away from. The papers' settings stay as they are.
    """
    name, settings = USUAL[kind]
    if given.get("preset") == "published":
        return {}
    settings = settings if method == name else OTHERS.get((kind, method), {})
    placed = given.keys() & {"site", "lookup", "depth"}
    return {key: value for key, value in settings.items() if not placed or key == "keep_weight"}
