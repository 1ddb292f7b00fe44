"""Fixtures that the tests of several methods share."""

from __future__ import annotations

import pytest

from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics
from tests.editing.worked import session_statistics


@pytest.fixture(scope="module")
def statistics(trained_lm: LanguageModel) -> ModelStatistics:
    """Statistics of the trained model from a short corpus."""
    return session_statistics(trained_lm)
