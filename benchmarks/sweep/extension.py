"""A finished run, extended: more rungs, methods, settings, kinds, cases, seeds or doses, without losing its plan.

`run.json` keeps the plan that the run was begun with; each extension is an entry of its list `extensions`: when it was
made, its hash, what it adds, and the plan from then on. Cells of before stay as they are; the rows of new ones name the
extension in their column `extension`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.sweep.planning.plan import FIRST_RULE, LATER
from editing.errors import BadData
from editing.files import digest

MIXED = "one of the two is of a plan file, the other of flags alone"
# Keys of `Plan.fixed` that may grow; the others say what the rows of a run have in common.
GROWING = ("rungs", "methods", "axes", "edits", "limit", "seeds", "doses")


@dataclass(frozen=True)
class Chain:
    """What a run folder is fixed to, step by step.

    Attributes:
        plans: the plan that the run was begun with and its extensions, up to the one that is run now (`Plan.fixed`).
        entry: what run.json is to say of an extension that is not listed there yet.
    """

    plans: tuple[dict, ...]
    entry: dict | None = None

    @property
    def name(self) -> str:
        """Of the extension that is run now, as its rows name it; empty where the first plan is run."""
        return digest(self.plans[-1])[:16] if len(self.plans) > 1 else ""


def chain_of(folder: Path, fixed: dict, about: Mapping, extend: bool) -> Chain:
    """Where a plan stands among those of a run folder.

    Args:
        fixed: `Plan.fixed` of the plan to run.
        about: run.json of the folder; empty where there is none.
        extend: whether a plan that holds all of the last one, and more, is to extend the run.

    Raises:
        BadData: another plan than those of the run, or one that leaves out or changes something of it; a packed run.
    """
    if not about:
        return Chain((fixed,))
    if about.get("packed"):
        raise BadData(f"{folder}: a packed run, to which nothing can be added; use another --out")
    plans = [about.get("plan", fixed), *(one["plan"] for one in about.get("extensions", []))]
    for number, plan in enumerate(plans, 1):
        if not _unlike(plan, fixed):
            return Chain(tuple(plans[:number]))
    mixed = ("edits" in plans[0]) != ("edits" in fixed)
    refusal = MIXED if mixed else _refusal(plans[-1], fixed)
    if not refusal and about.get("search_rule", FIRST_RULE) == FIRST_RULE and fixed.get("search") == "halving":
        refusal = _searched_otherwise(plans[-1], fixed)
    if not extend:
        keys = [f"{key} {plans[0].get(key)!r}, not {fixed.get(key)!r}" for key in _unlike(plans[0], fixed)]
        unlike = MIXED if mixed else "; ".join(keys)
        hint = "" if refusal else ", or --extend to add to it"
        raise BadData(f"{folder}: holds another run ({unlike}); use another --out{hint}")
    if refusal:
        raise BadData(f"{folder}: cannot be extended to this plan: {refusal}; use another --out")
    adds = [f"{key}: {_brief(plans[-1].get(key))} -> {_brief(fixed[key])}" for key in _unlike(plans[-1], fixed)]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Chain((*plans, fixed), {"time": now, "plan_hash": digest(fixed), "adds": adds, "plan": fixed})


def _unlike(stored: Mapping, fixed: Mapping) -> list[str]:
    """Keys in which a plan differs from a stored one. What only earlier versions stored does not count."""
    keys = [key for key in (*fixed, *LATER, "known") if key in fixed or key in stored]
    return [key for key in dict.fromkeys(keys) if stored.get(key) != fixed.get(key)]


def _refusal(before: Mapping, after: Mapping) -> str:
    """Why `after` does not hold all of `before`; empty where it does."""
    for key in _unlike(before, after):
        if key not in GROWING:
            return f"{key} is {before.get(key)!r:.80} there and {after.get(key)!r:.80} here"
        if not _holds(key, before.get(key), after.get(key)):
            return f"{key} leaves out something of {_brief(before.get(key))}"
    return ""


def _searched_otherwise(before: Mapping, after: Mapping) -> str:
    """Why the searches of a run by rule 1 cannot go on: its batches hang on the number of settings."""
    grids = dict(after["axes"])
    changed = [method for method, grid in before["axes"] if grids[method] != grid]
    return f"rule 1 cannot add settings to {', '.join(changed)}" if changed else ""


def _holds(key: str, before, after) -> bool:
    """Whether the value `after` of a growing key holds all of `before`; no rungs means all of the ladder."""
    if key == "rungs":
        return not after or (bool(before) and set(before) <= set(after))
    if key == "limit":
        return after >= before
    if key == "edits":
        more = {(one["kind"], one["dataset"]): one["limit"] for one in after}
        return all(more.get((one["kind"], one["dataset"]), 0) >= one["limit"] for one in before)
    if key == "axes":
        grids = {method: dict(grid) for method, grid in after}
        return all(
            method in grids
            and dict(grid).keys() == grids[method].keys()
            and all(set(map(str, values)) <= set(map(str, grids[method][name])) for name, values in grid)
            for method, grid in before
        )
    return set(before or ()) <= set(after or ())


def _brief(value: object) -> str:
    return f"{value!r:.120}"


def added_doses(plans: Sequence[Mapping], first: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    """Per extension the doses that it adds to those of before; `first` are those that the run was begun with."""
    known, added = {1.0, *first}, []
    for plan in plans[1:]:
        more = tuple(dose for dose in plan.get("doses") or () if dose not in known)
        known |= {*more}
        added.append(more)
    return tuple(added)
