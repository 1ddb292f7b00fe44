"""Every composite by its name: the modules of this folder that have COMPOSITES. A new one is one new file."""

from __future__ import annotations

from functools import cache

from editing.plugins import Named, modules_in
from valley.rows import RowsError
from valley.scores.composites.composite import Composite

PRIMARY = "harmonic_net_all"
# What plans of earlier versions call a composite; their hash holds that name.
FORMER = {"harmonic_mean": "first_study", "harmonic_mean_net": "first_study_net"}


@cache
def composites() -> tuple[Composite, ...]:
    """All composites, the primary one first, then by module and as listed there.

    Raises:
        BadPlugin: two of one name, or a module that cannot be imported.
    """
    every: Named[Composite] = Named()
    for module in modules_in("valley.scores.composites"):
        for one in getattr(module, "COMPOSITES", ()):
            every.put(one.name, one, module.__file__)
    return tuple(sorted(every.values(), key=lambda one: one.name != PRIMARY))


def by_name(name: str) -> Composite:
    """The composite of that name, or of that former name.

    Raises:
        RowsError: there is none.
    """
    for one in composites():
        if one.name == FORMER.get(name, name):
            return one
    raise RowsError(f"no composite {name!r}; use one of {', '.join(one.name for one in composites())}")


def ruler(metric: str) -> Composite:
    """The composite that a plan's metric is; the primary one for other scores (`e_hv`, `gen_at_spec`...)."""
    known = {one.name for one in composites()} | set(FORMER)
    return by_name(metric if metric in known else PRIMARY)


def chooser(metric: str) -> Composite:
    """The composite by which settings are chosen on development cases, where placebos are not run."""
    one = ruler(metric)
    return by_name(one.on_dev or one.name)
