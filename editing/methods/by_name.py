"""Editing methods by name: every file below this package that defines a `Method` with a name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from editing.errors import BadRequest
from editing.methods.base import Method
from editing.methods.peers.easyedit import PREFIX, easyedit_class, is_easyedit
from editing.plugins import classes_in

# What --fast sets: v* from three prefixed contexts a step, bfloat16 steps where they are faster; scores stay equal
# (LOG.md).
FAST = {"contexts_per_step": 3, "precision": "auto"}


@cache
def registry() -> Mapping[str, type[Method]]:
    """Every concrete method below this package, by name. A new method is one new file there; nothing else is
    touched."""
    return MappingProxyType(classes_in("editing.methods", Method))


def method_names() -> tuple[str, ...]:
    """Names of all methods, sorted."""
    return tuple(registry())


def method_class(name: str) -> type[Method]:
    """The class of the method called `name`; `easyedit:EDITOR` is one of EasyEdit's editors.

    Raises:
        BadRequest: unknown name, or none.
    """
    if not isinstance(name, str):
        raise BadRequest(f"method {name!r:.80}: not a name; write one of {', '.join(registry())}")
    if is_easyedit(name):
        return easyedit_class(name)
    methods = registry()
    if name not in methods:
        raise BadRequest(f"no method {name!r}; use one of {', '.join(methods)}, or {PREFIX}EDITOR")
    return methods[name]


@cache
def method_file(name: str) -> tuple[str, str]:
    """The file that defines the method called `name`, and the SHA-256 of its content.

    Raises:
        BadRequest: unknown name.
    """
    path = Path(str(sys.modules[method_class(name).__module__].__file__))
    return f"{path.parent.name}/{path.name}", hashlib.sha256(path.read_bytes()).hexdigest()


def make_method(name: str, **settings: Any) -> Method:
    """The method called `name` with `settings`; what is left out keeps the default of the preset.

    Raises:
        BadRequest: unknown name, unknown setting, or a value that does not fit.
    """
    kind = method_class(name)
    known = [f.name for f in dataclasses.fields(kind)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise BadRequest(f"method {name} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    return kind.with_preset(**settings)


def settings_before_presets(name: str) -> dict[str, Any]:
    """The default settings of the method called `name` in rows that state no preset, from before there were any."""
    kind = method_class(name)
    return kind(**kind.of_before_presets()).settings()


def taken_by(method: str, settings: Mapping[str, object]) -> dict:
    """Those of `settings` that the method has."""
    has = make_method(method).settings()
    return {key: value for key, value in settings.items() if key in has}


def takers(methods: Sequence[str], setting: str) -> list[str]:
    """Those of `methods` that have the setting.

    Raises:
        BadRequest: none has it.
    """
    found = [name for name in methods if setting in make_method(name).settings()]
    if not found:
        raise BadRequest(
            f"none of {', '.join(methods)} has a setting {setting!r}; see `python cli.py describe {methods[0]}`"
        )
    return found


def placebo_for(name: str, settings: Mapping[str, object]) -> Any:
    """The control of method `name`: the same edit elsewhere, with what it takes of `settings` (a `Placebo`).

    It states all settings, also defaults, which tables compare with those of the edit.
    """
    takes, own = make_method("placebo").settings(), make_method(name, **taken_by(name, settings)).settings()
    usual = make_method(name).settings()
    # Where the placebo has None, the inner method's default holds.
    options = {k: v for k, v in own.items() if k not in takes or (v is None and usual[k] is not None)}
    shared: dict[str, Any] = {key: value for key, value in own.items() if key in takes}
    return make_method("placebo", inner=name, options=json.dumps(options), **shared)
