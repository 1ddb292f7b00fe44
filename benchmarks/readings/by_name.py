"""Readings by name: every file of this package that defines a `Reading` with a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import MappingProxyType
from typing import Any

from benchmarks.readings.base import Reading
from editing.errors import BadRequest
from editing.plugins import classes_in


@cache
def registry() -> Mapping[str, type[Reading]]:
    """Every reading, by name. A new one is one new file beside this; nothing else is touched."""
    return MappingProxyType(classes_in("benchmarks.readings", Reading))


def reading_names() -> tuple[str, ...]:
    """Names of all readings, sorted."""
    return tuple(registry())


def make_reading(name: str, **settings: Any) -> Reading:
    """The reading called `name` with `settings`; what is left out keeps its default.

    Raises:
        BadRequest: unknown name, unknown setting, or a value that does not fit.
    """
    readings = registry()
    if name not in readings:
        raise BadRequest(f"no reading {name!r:.60}; use one of {', '.join(readings)}")
    known = [field.name for field in fields(readings[name])]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise BadRequest(f"reading {name} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    return readings[name](**settings)
