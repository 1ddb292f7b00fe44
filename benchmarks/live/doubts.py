"""Why a change may not be trusted, as lines for a reader; the thresholds are in `editing/stats/guards.py`."""

from __future__ import annotations

from editing.delta import Delta
from editing.model import LanguageModel
from editing.stats import ModelStatistics, norm_warning


def doubts(lm: LanguageModel, statistics: ModelStatistics, delta: Delta) -> list[str]:
    """A line each about its covariances, its keys and its size; none where there is nothing to doubt."""
    size = norm_warning(delta.relative_norm(lm))
    return [*statistics.warnings(), *delta.provenance.get("warnings", ()), *([size] if size else [])]
