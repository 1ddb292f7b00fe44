"""The field's scores and ours, per setting, with intervals."""

from valley.scores.published.definitions import (
    PLACE,
    SCORE_COLUMNS,
    TABLES,
    counterfact_scores,
    easyedit_scores,
    our_scores,
)

__all__ = ["PLACE", "SCORE_COLUMNS", "TABLES", "counterfact_scores", "easyedit_scores", "our_scores"]
