"""Files that are found by being in a package (methods, readings, data sets, hypotheses, scores): a broken one, and one
that has the name of another, are refused in one line that names the file."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TypeVar

from editing.errors import UserError

Kind = TypeVar("Kind")


class BadPlugin(UserError):
    """A source file of a package of plug-ins that cannot be used."""


def modules_in(package: str) -> Iterator[ModuleType]:
    """Every module below a package, by alphabet.

    Raises:
        BadPlugin: one of them cannot be imported.
    """
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        yield loaded(info.name)
        if info.ispkg:
            yield from modules_in(info.name)


def loaded(name: str) -> ModuleType:
    """The module called `name`, in a package that can be imported.

    Raises:
        BadPlugin: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:
        spec = importlib.util.find_spec(name)
        assert spec is not None, "its package was searched for it"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadPlugin(f"{spec.origin}: cannot be imported ({reason:.160}); correct the file") from error


def need(module: ModuleType, keys: Sequence[str]) -> None:
    """Refuse a module that lacks one of `keys`.

    Raises:
        BadPlugin: it does.
    """
    if missing := [key for key in keys if not hasattr(module, key)]:
        raise BadPlugin(f"{module.__file__}: has no {', '.join(missing)}; add it as the files beside it have it")


class Named(dict[str, Kind]):
    """Plug-ins by name."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, str] = {}

    def put(self, name: str, value: Kind, file: str | None) -> None:
        """Take `value`, which `file` defines.

        Raises:
            BadPlugin: there is another one of that name.
        """
        if name in self:
            raise BadPlugin(f"{file}: {name!r} is also a name in {self._files[name]}; rename one of them")
        self[name], self._files[name] = value, str(file)


def classes_in(package: str, base: type[Kind]) -> dict[str, type[Kind]]:
    """Every class below a package that derives from `base` and has a `name`, by name.

    Raises:
        BadPlugin: as `modules_in`; two of one name; one that lacks what `base` leaves open, or is no dataclass.
    """
    classes: Named[type[Kind]] = Named()
    for module in modules_in(package):
        for value in vars(module).values():
            if not (isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__):
                continue
            if not (name := getattr(value, "name", "")):
                continue
            if missing := sorted(getattr(value, "__abstractmethods__", ())):
                raise BadPlugin(f"{module.__file__}: {value.__name__} defines no {', '.join(missing)}; add it")
            if "__dataclass_fields__" not in vars(value):
                raise BadPlugin(
                    f"{module.__file__}: {value.__name__} is no dataclass; write @dataclass(frozen=True) above it"
                )
            classes.put(name, value, module.__file__)
    return dict(sorted(classes.items()))
