"""Which settings of a method a plan tries: the default placements, or the product of the axes that a plan file
gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product

from benchmarks.sweep.planning.plan import Plan
from editing.errors import BadRequest
from editing.files import canonical
from editing.methods import make_method, taken_by

# The default grid of a search by the first rule and of a grid search, the same at every rung. A one-layer transformer
# never reads the subject's MLP at later positions, so the classic site alone would make the weakest rungs look
# uneditable; site and lookup are part of the search.
PLACEMENTS = (("mlp", "subject_last"), ("value", "subject_last"), ("mlp", "last"))
ALL_PLACEMENTS = (*PLACEMENTS, ("attn", "subject_last"), ("attn", "last"))
# A whole search has every site at every lookup and every layer.
EVERY_SITE, EVERY_LOOKUP = ("mlp", "value", "attn"), ("subject_last", "last")
EVERY_LAYER = "all"  # the value of `depth` that stands for the depth of each layer


def depths(n_layers: int) -> tuple[float | None, ...]:
    """The depth in the middle of every layer, first to last; the method's default where the number is not known."""
    return tuple(round((layer + 0.5) / n_layers, 5) for layer in range(n_layers)) or (None,)


def settings_grid(
    plan: Plan, method: str, lookups: Sequence[str], n_layers: int = 0, whole: bool = False
) -> tuple[dict, ...]:
    """Settings of `method` to try on requests that look up at `lookups`, duplicates left out.

    Placements that the method itself refuses (MEMIT at the value projection) are no settings of it. With an axis `site`
    or `lookup` the default placements shrink to it; with both, every pair is tried.

    Args:
        n_layers: of the model, for a depth "all"; 0 where it is not known yet.
        whole: a depth, site or lookup that the plan does not state is every one of them, as far as it matters to the
            method (`Method.placed_by`).

    Raises:
        BadRequest: the method refuses them all.
    """
    takes = make_method(method).settings()
    axes = dict(dict(plan.axes).get(method, ()))
    given = taken_by(method, dict(plan.settings))
    if whole:
        stated = {key: (value,) for key, value in given.items()} | axes
        axes = _every_place(method, stated) | stated
    if EVERY_LAYER in axes.get("depth", ()):
        axes["depth"] = depths(n_layers)
    sites, positions = axes.pop("site", ()), axes.pop("lookup", ())
    rest = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    if not {"site", "lookup"} <= set(takes):
        return tuple(given | one for one in rest)
    placements = tuple(product(sites, positions)) if sites and positions else ALL_PLACEMENTS
    if "subject_last" not in lookups:  # no subject in the prompt to look up
        placements = [(site, "last") for site, _ in placements]
        positions = ()
    grid, refusal = (
        [],
        BadRequest(f"method {method} edits at none of {', '.join(map(str, sites or plan.sites))}; add a site"),
    )
    for site, where in dict.fromkeys(placements):
        if site not in (sites or plan.sites) or (positions and where not in positions):
            continue
        for one in rest:
            settings = {"site": site, "lookup": where} | given | one
            if "inner" in takes:
                settings |= _of_inner(takes, settings, dict(plan.settings))
            try:
                make_method(method, **settings)
                if settings not in grid:
                    grid.append(settings)
            except BadRequest as error:  # a site this method is not defined for, at any rung
                refusal = error
    if not grid:
        raise refusal
    return tuple(grid)


def _every_place(method: str, stated: Mapping[str, Sequence]) -> dict[str, Sequence]:
    """The axes of a whole search: every value of the settings that place the method's edits, one of the others."""
    every = {"site": EVERY_SITE, "lookup": EVERY_LOOKUP, "depth": (EVERY_LAYER,)}
    placed = make_method(method, **{key: values[0] for key, values in stated.items() if key not in every}).placed_by
    axes: dict[str, Sequence] = {key: every[key] for key in placed}
    return {"site": EVERY_SITE[:1], "lookup": EVERY_LOOKUP[-1:]} | axes


def _of_inner(takes: Mapping, given: Mapping, settings: Mapping) -> dict:
    """`options` of a control that makes another method's edits: what the plan sets for that method holds for the
    control too."""
    own = taken_by(given.get("inner", takes["inner"]), dict(settings))
    options = {key: value for key, value in own.items() if key not in takes}
    return {"options": canonical(options | json.loads(given.get("options", takes["options"])))}
