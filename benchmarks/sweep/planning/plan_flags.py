"""`bench PLAN` with flags: a flag that is given replaces what the plan file says, in the plan and so in its hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.sweep.planning.plan import DEFAULT_DATASETS, Edits, Plan
from benchmarks.sweep.planning.plan_file import check_whole, fast_settings
from editing.errors import BadRequest
from editing.methods import make_method, takers
from valley.rows import CONTROLS

# Parameters of `bench` that say what to do -> their option.
PLAN_OPTIONS = {
    "ladder": "--ladder",
    "methods": "--methods",
    "kinds": "--kinds",
    "datasets": "--datasets",
    "limit": "--limit",
    "probes": "--probes",
    "more_probes": "--more-probes",
    "chat": "--chat",
    "evaluation": "--evaluation",
    "sites": "--sites",
    "known": "--known",
    "concepts": "--concepts",
    "fast": "--fast",
    "corpus": "--corpus",
    "seed": "--seed",
    "settings": "--set",
    "doses": "--doses",
    "extend": "--extend",
}

# Of these, those that are fields of a plan as they are given.
AS_GIVEN = ("ladder", "probes", "more_probes", "chat", "evaluation", "corpus", "known", "doses", "concepts", "extend")


def overridden(plan: Plan, flags: Mapping[str, Any]) -> Plan:
    """`plan` with what `flags` say instead; `Plan.overrides` lists what that changed.

    Args:
        flags: parameter of `bench` -> value, only of flags that were given; `settings` as pairs of key and value.

    Raises:
        UserError: a value that does not fit, or flags that leave nothing to do.
    """
    changed = replace(plan, **{key: flags[key] for key in AS_GIVEN if key in flags})
    if "seed" in flags:
        changed = replace(changed, seed=flags["seed"], seeds=(flags["seed"],))
    if "kinds" in flags or "datasets" in flags:
        edits = _edits(changed, flags.get("kinds", plan.kinds), flags.get("datasets", ()))
        changed = replace(changed, edits=edits, kinds=tuple(dict.fromkeys(edit.kind for edit in edits)))
    if "limit" in flags:
        edits = tuple(replace(edit, limit=flags["limit"]) for edit in changed.edits)
        changed = replace(changed, limit=flags["limit"], edits=edits)
    if "methods" in flags:
        grids = dict(changed.axes)
        axes = tuple((name, grids.get(name, ())) for name in flags["methods"])
        changed = replace(changed, methods=flags["methods"], axes=axes)
    if plan.settings or flags.get("fast"):
        changed = replace(changed, settings=fast_settings(changed.methods))
    if "sites" in flags:
        changed = _at_sites(replace(changed, sites=flags["sites"]))
    for key, value in flags.get("settings", ()):
        changed = _with_setting(changed, key, value)
    check_whole(changed)
    before, after = _stated(plan, flags), _stated(changed, flags)
    overrides = tuple((option, before[option], after[option]) for option in after if before[option] != after[option])
    return replace(changed, overrides=overrides)


def _edits(plan: Plan, kinds: tuple[str, ...], datasets: tuple[str, ...]) -> tuple[Edits, ...]:
    stated = replace(plan, kinds=kinds, datasets=datasets, edits=())  # refuses an unknown kind
    if datasets:
        return stated.work()
    kept = [edit for edit in plan.edits if edit.kind in kinds]
    added = [Edits(kind, DEFAULT_DATASETS[kind], plan.limit) for kind in kinds if kind not in plan.kinds]
    return (*kept, *added)


def _at_sites(plan: Plan) -> Plan:
    """Every method searches those of the plan's sites that it has; controls of a halving follow the others."""
    for name in plan.methods:
        if "site" not in make_method(name).settings() or (plan.search == "halving" and name in CONTROLS):
            continue
        sites = []
        for site in plan.sites:
            try:
                make_method(name, site=site)
                sites.append(site)
            except BadRequest:  # not a site of this method
                continue
        if not sites:
            raise BadRequest(f"method {name} edits at none of {', '.join(plan.sites)}; add a site to --sites")
        plan = _with_axis(plan, name, "site", tuple(sites))
    return plan


def _with_setting(plan: Plan, key: str, value: object) -> Plan:
    for name in takers(plan.methods, key):
        make_method(name, **{key: value})  # refuses a value that does not fit
        plan = _with_axis(plan, name, key, (value,))
    return plan


def _with_axis(plan: Plan, method: str, key: str, values: tuple) -> Plan:
    grids = {name: dict(grid) for name, grid in plan.axes}
    grids[method][key] = values
    return replace(plan, axes=tuple((name, tuple(grid.items())) for name, grid in grids.items()))


def _stated(plan: Plan, flags: Mapping[str, Any]) -> dict[str, str]:
    """Option -> what the plan says about it, as text, for the flags that were given."""
    values = {
        "ladder": [plan.ladder],
        "methods": plan.methods,
        "kinds": plan.kinds,
        "datasets": [edit.dataset for edit in plan.edits],
        "limit": [edit.limit for edit in plan.edits],
        "probes": [plan.probes],
        "chat": ["template" if plan.chat and plan.chat != "auto" else plan.chat or "off"],
        "evaluation": [plan.evaluation or "own"],
        "more_probes": plan.more_probes or ["none"],
        "sites": _axis(plan, "site"),
        "known": [str(plan.known).lower()],
        "concepts": [plan.concepts],
        "fast": [str(bool(plan.settings)).lower()],
        "corpus": [plan.corpus],
        "seed": plan.seeds,
        "doses": ["by default"] if plan.doses is None else plan.doses,
    }
    stated = {PLAN_OPTIONS[name]: ",".join(dict.fromkeys(map(str, values[name]))) for name in flags if name in values}
    return stated | {f"--set {key}": ", ".join(_axis(plan, key)) for key, _ in flags.get("settings", ())}


def _axis(plan: Plan, key: str) -> list[str]:
    """Values, and the method, of each method for which the plan states this setting."""
    stated = [f"{'/'.join(map(str, dict(grid)[key]))} for {name}" for name, grid in plan.axes if key in dict(grid)]
    return stated or ["default"]
