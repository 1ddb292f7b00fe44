"""From the rows of a run to scores, curves, verdicts and the report. Knows pandas and scipy, never torch.

    import valley

    run = valley.Run("results/demo", min_known=2)
    run.curve()                                # pandas; also scores(), verdict(), hypotheses(), rows
    run                                        # in a notebook: the report, as run.report() writes it
    rows = valley.read_run("results/demo")

Names are imported when they are first used, so that `import valley` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valley.report import Run
    from valley.rows import RowsError, read_run

__all__ = ["RowsError", "Run", "read_run"]

_PLACES = {"RowsError": "valley.rows", "Run": "valley.report", "read_run": "valley.rows"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'valley' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
