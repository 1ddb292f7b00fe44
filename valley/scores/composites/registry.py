"""Every composite by its name: the modules of this folder that have COMPOSITES. A new one is one new file."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from valley.rows import RowsError
from valley.scores.composites.composite import Composite

PRIMARY = "harmonic_net_all"


@cache
def composites() -> tuple[Composite, ...]:
    """All composites, the primary one first, then by module and as listed there.

    Raises:
        ValueError: two of one name.
    """
    package = importlib.import_module("valley.scores.composites")
    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    every = [one for module in modules for one in getattr(module, "COMPOSITES", ())]
    if len({one.name for one in every}) != len(every):
        raise ValueError(f"two composites share a name: {sorted(one.name for one in every)}")
    return tuple(sorted(every, key=lambda one: one.name != PRIMARY))


def by_name(name: str) -> Composite:
    """The composite of that name.

    Raises:
        RowsError: there is none.
    """
    for one in composites():
        if one.name == name:
            return one
    raise RowsError(f"no composite {name!r}; use one of {', '.join(one.name for one in composites())}")
