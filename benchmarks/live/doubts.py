"""Why a change may not be trusted, as lines for a reader; the thresholds are in `editing/stats/guards.py`."""

from __future__ import annotations

from editing.delta import Delta, single_edits
from editing.model import LanguageModel
from editing.stats import ModelStatistics, norm_warning


def doubts(lm: LanguageModel, statistics: ModelStatistics, delta: Delta) -> list[str]:
    """A line each about its covariances, its keys (of every part of a composed change) and its size; none where there
    is nothing to doubt."""
    size = norm_warning(delta.relative_norm(lm))
    of_keys = [line for part in single_edits(delta.provenance) for line in part.get("warnings", ())]
    return [*statistics.warnings(), *dict.fromkeys(of_keys), *([size] if size else [])]
