"""Numbers of one tiny model, written down: a change of behaviour shows here even if fast and slow change together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing.eval import continuation_logprobs
from editing.methods import make_method
from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics
from tests.editing.families import tiny_lm
from tests.editing.worked import REACHING, WITHIN_REACH

SCORES = [-12.1613, -17.7378, -11.5963]
ROME = [0.5114, 0.5199, 0.5301, 0.5173, 0.5208]
MEMIT = [13.88, 10.96]
COVARIANCE = (785.36, 805.55)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """Weights from a formula, so that they do not depend on a library's random numbers."""
    lm = tiny_lm("gpt2")
    with torch.no_grad():
        for n, (_, parameter) in enumerate(sorted(lm.module.named_parameters())):
            if parameter.ndim == 2:
                wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * (1.7 + 0.37 * n) + n)
                parameter.copy_((0.4 * wave).reshape(parameter.shape).float())
    return lm


@pytest.fixture(scope="module")
def statistics(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> ModelStatistics:
    return ModelStatistics(lm, tmp_path_factory.mktemp("cache"), "identity")


def test_scores(lm: LanguageModel) -> None:
    (result,) = continuation_logprobs(lm, ["The capital of France is"], [["the city", "bread", "Paris"]])
    assert result == pytest.approx(SCORES, rel=1e-4)


def test_rome(lm: LanguageModel, statistics: ModelStatistics) -> None:
    method = make_method("rome", depth=0.5, short_prefixes=0, long_prefixes=0, **REACHING)
    deltas = method.each(lm, WITHIN_REACH, statistics)
    assert [d.factors["transformer.h.2.mlp.c_proj.weight"].norm() for d in deltas] == pytest.approx(ROME, rel=1e-3)


def test_memit(lm: LanguageModel, statistics: ModelStatistics) -> None:
    method = make_method("memit", depth=0.6, span=0.5, prefixes=0, covariance_weight=5.0, **REACHING)
    delta = method(lm, WITHIN_REACH, statistics)
    assert [delta.factors[f"transformer.h.{i}.mlp.c_proj.weight"].norm() for i in (1, 2)] == pytest.approx(
        MEMIT, rel=1e-3
    )


def test_covariance(lm: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The capital of France is the city of Paris. Le fromage est fait de lait.")
    result = ModelStatistics(lm, tmp_path, f"text:{tmp_path / 'text.txt'}").covariance(lm.sites()[1])
    assert (float(result.matrix.norm()), float(result.matrix.trace())) == pytest.approx(COVARIANCE, rel=1e-4)
