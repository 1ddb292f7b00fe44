"""The field's scores and ours, per setting, with intervals. A table of its own is one file here that has TABLES."""

import importlib
import pkgutil

from valley.scores.published.definitions import (
    PLACE,
    SCORE_COLUMNS,
    counterfact_scores,
    easyedit_scores,
    our_scores,
)

TABLES = {
    name: table
    for module in pkgutil.iter_modules(__path__)
    for name, table in getattr(importlib.import_module(f"{__name__}.{module.name}"), "TABLES", {}).items()
}

__all__ = ["PLACE", "SCORE_COLUMNS", "TABLES", "counterfact_scores", "easyedit_scores", "our_scores"]
