"""The plan of a run as the TOML file that `bench` reads: what run.json says was run, flags beside a file included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from editing.files import write_whole

# Fields of a plan that its file states under the same name, and what a file that is silent means.
SAME = {
    "title": "", "ladder": None, "rungs": [], "seeds": [0], "probes": 0, "corpus": None, "known": False,
    "concepts": "", "search": "halving", "pareto": False, "doses": None, "more_probes": None, "chat": None,
    "evaluation": None,
}  # fmt: skip
FIRST_RULE = 1  # of the halving, in runs from before rules were recorded


def plan_files(about: Mapping) -> dict[str, str]:
    """Name and text of the plan file of everything that was requested of a run by a plan file, in the order requested;
    what differs only in what a plan file does not state, as the minutes left after an interruption, is written once.

    Args:
        about: run.json of the run.
    """
    requests = [one for one in about.get("asked", []) if one.get("split") is not None]
    texts = dict.fromkeys(plan_toml(one, about) for one in requests)
    return {f"plan{f'-{i}' if i > 1 else ''}.toml": text for i, text in enumerate(texts, 1)}


def write_plans(about: Mapping, folder: Path) -> None:
    """Write the plan files of a run that are not there yet.

    Raises:
        RowsError: the folder cannot be written.
    """
    for name, text in plan_files(about).items():
        if not (folder / name).exists():
            write_whole(folder / name, text)


def plan_toml(request: Mapping, about: Mapping) -> str:
    """One entry of "asked" in run.json (`about`) as a plan file."""
    rule = about.get("search_rule", FIRST_RULE)
    values = {name: request[name] for name, silent in SAME.items() if request.get(name, silent) != silent}
    if request.get("settings"):
        values["fast"] = True
    stated = request.get("search_rule") or (rule if rule == FIRST_RULE and request.get("search") == "halving" else None)
    if stated is not None:
        values["search_rule"] = stated
    lines = [f"{name} = {_value(value)}" for name, value in values.items()]
    lines += _table("split", request["split"])
    if request.get("analysis"):
        lines += _table("analysis", dict(request["analysis"]))
    for edit in request["edits"]:
        lines += _table("[edits]", edit)
    for method, grid in request["axes"]:
        lines += _table(f"methods.{method}", {key: values for key, values in grid})
    return "\n".join([*lines, ""])


def _table(name: str, values: Mapping) -> list[str]:
    return ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in values.items() if value is not None)]


def _value(value: object) -> str:
    """A text, number, truth value or list of them: TOML writes these as JSON does."""
    return json.dumps(value, ensure_ascii=False)
