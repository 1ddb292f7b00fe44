"""From the rows of a run to scores, curves, verdicts and the report. Knows pandas and scipy, never torch.

    import valley

    rows = valley.read_run("results/demo")
    valley.show("results/demo", min_known=2)   # the report, in a notebook

Names are imported when they are first used, so that `import valley` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valley.report import show
    from valley.rows import RowsError, read_run

__all__ = ["RowsError", "read_run", "show"]

_PLACES = {"RowsError": "valley.rows", "read_run": "valley.rows", "show": "valley.report"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'valley' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
