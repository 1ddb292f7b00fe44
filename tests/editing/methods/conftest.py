"""Fixtures that the tests of several methods share."""

from __future__ import annotations

import pytest

from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics


@pytest.fixture(scope="module")
def statistics(trained_lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> ModelStatistics:
    """Statistics of the trained model from a short corpus, in a cache of the module's own."""
    return ModelStatistics(trained_lm, tmp_path_factory.mktemp("cache"), "samples:800")
