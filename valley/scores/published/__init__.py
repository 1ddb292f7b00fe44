"""The field's scores and ours, per setting, with intervals. A table of its own is one file here that has TABLES."""

from __future__ import annotations

from editing.lazy import pandas as pd
from editing.plugins import Named, modules_in
from valley.rows import RowsError
from valley.scores.published.definitions import (
    PLACE,
    SCORE_COLUMNS,
    counterfact_scores,
    easyedit_scores,
    our_scores,
)

TABLES: Named = Named()
for _module in modules_in(__name__):
    for _name, _table in getattr(_module, "TABLES", {}).items():
        TABLES.put(_name, _table, _module.__file__)


def published_scores(rows: pd.DataFrame, metrics: str, which: str, metric: str) -> pd.DataFrame:
    """The table of scores called `metrics`.

    Args:
        rows: of one run, with SCORE_COLUMNS. which: the cases that count. metric: the score of ours that comes first.

    Raises:
        RowsError: no such table.
    """
    if metrics not in TABLES:
        raise RowsError(f"no metrics {metrics!r:.60}; use one of {', '.join(TABLES)}")
    return TABLES[metrics](rows, which, **({"metric": metric} if metrics == "ours" else {}))


__all__ = [
    "PLACE",
    "SCORE_COLUMNS",
    "TABLES",
    "counterfact_scores",
    "easyedit_scores",
    "our_scores",
    "published_scores",
]
