"""An edit and its opposite, together, change nothing."""

from __future__ import annotations

from editing.delta import compose
from editing.delta.changes import Shift
from editing.methods import make_method
from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics
from tests.editing.worked import REQUESTS


def test_an_edit_and_its_opposite_are_nothing(trained_lm: LanguageModel, statistics: ModelStatistics) -> None:
    for name in ("rome", "memit", "ft_m", "lora", "embedding", "steer"):
        (delta,) = make_method(name, steps=3).each(trained_lm, REQUESTS[:1], statistics)
        nothing = compose([delta, delta.scaled(-1)])
        for place, change in nothing.factors.items():
            left = change.vector if isinstance(change, Shift) else change.dense()
            assert float(left.norm()) <= 1e-6 * delta.factors[place].norm()
