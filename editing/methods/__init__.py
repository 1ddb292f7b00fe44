"""Editing methods by name. One file each; the contract they all satisfy is in tests/editing/methods/test_contract.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from editing.errors import BadRequest
from editing.methods.base import Method, Placement, registry

__all__ = ["FAST", "Method", "Placement", "make_method", "method_names", "registry", "taken_by"]


def method_names() -> tuple[str, ...]:
    """Names of all methods, sorted."""
    return tuple(registry())


def make_method(name: str, **settings: Any) -> Method:
    """The method called `name` with `settings`; what is left out keeps its default.

    Raises:
        BadRequest: unknown name, unknown setting, or a value that does not fit.
    """
    methods = registry()
    if name not in methods:
        raise BadRequest(f"no method {name!r}; use one of {', '.join(methods)}")
    known = [f.name for f in dataclasses.fields(methods[name])]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise BadRequest(f"method {name} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    return methods[name](**settings)


# What --fast sets: v* from three prefixed contexts a step, bfloat16 steps where they are faster; scores stay equal (LOG.md).
FAST = {"contexts_per_step": 3, "precision": "auto"}


def taken_by(method: str, settings: Mapping[str, object]) -> dict:
    """Those of `settings` that the method has."""
    has = make_method(method).settings()
    return {key: value for key, value in settings.items() if key in has}
