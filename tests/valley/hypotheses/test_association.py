"""Correlations across subjects within a model: weights, power, level where relations are small."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from valley.hypotheses._evidence import Untestable, _correlations, association
from valley.scores.plan import AnalysisPlan

PLAN = AnalysisPlan(min_known=2, bootstrap=100, draws=200)


def test_correlations_are_weighted_and_0_where_nothing_varies():
    rng = np.random.default_rng(0)
    a, b = np.array([0.1] * 8 + [0.7]), rng.normal(size=9)
    weights = rng.multinomial(9, np.full(9, 1 / 9), size=400).astype("float64")
    values = _correlations(a[None], b, weights)
    assert (values[weights[:, 8] == 0] == 0).all() and (weights[:, 8] == 0).any() and (np.abs(values) <= 1).all()
    assert _correlations(a[None], b, np.ones((1, 9)))[0] == pytest.approx(np.corrcoef(a, b)[0, 1])


def cases_alike(rho: float, seed: int) -> pd.DataFrame:
    """60 cases about 20 subjects in 4 relations, at 6 models; relations and subjects shift both scores on their own."""
    rng = np.random.default_rng(seed)
    n = np.arange(60)
    shifts = [rng.normal(0, 0.2, 4)[n % 4] + rng.normal(0, 0.1, 20)[n // 3] for _ in range(2)]
    shared = rng.normal(0, 0.1, 20)[n // 3]
    a, b = (shift * (1 - rho) + rho * shared for shift in shifts)
    return pd.concat(
        pd.DataFrame({"rung": f"m{r}", "size": f"m{r}", "case": n, "subject": n // 3, "cluster": n % 4,
                      "a": a + rng.normal(0, 0.05, 60), "b": b + rng.normal(0, 0.05, 60)})
        for r in range(6)
    )  # fmt: skip


@pytest.mark.slow
def test_association_has_power_and_keeps_its_level():
    """Before, a bootstrap over four relations with t rejected 0 of 100 nulls and found a true correlation 3 times."""
    plan = AnalysisPlan(draws=200, bootstrap=50)
    null = [association(cases_alike(0.0, seed), plan).p < 0.05 for seed in range(60)]
    effect = [association(cases_alike(0.6, seed), plan).p < 0.05 for seed in range(20)]
    assert np.mean(null) <= 0.12 and np.mean(effect) >= 0.8


def in_relations(sizes: Sequence[int], seed: int) -> pd.DataFrame:
    """One case per subject at two models, scores at random; `sizes`: subjects of each relation."""
    rng, n = np.random.default_rng(seed), np.arange(sum(sizes))
    cluster = np.repeat([f"r{i:02d}" for i in range(len(sizes))], sizes)
    about = {"case": n, "subject": [f"s{i:02d}" for i in n], "cluster": cluster}
    return pd.concat(
        pd.DataFrame(about | {"rung": m, "size": m, "a": rng.normal(size=len(n)), "b": rng.normal(size=len(n))})
        for m in ("m0", "m1")
    )


def test_association_permutes_within_relations_only():
    """Three relations of two subjects have eight permutations, and two of them agree as well as perfect agreement."""
    pairs = in_relations([2, 2, 2], 0).assign(b=lambda part: part["a"])
    assert association(pairs, PLAN).p == pytest.approx(2 / 8, abs=0.1)


def test_association_leaves_out_subjects_alone_in_their_relation():
    """Less the mean of their relation they are 0 at every model, which no other subject's score can be."""
    pairs = in_relations([1] * 20 + [12], 0)
    whole, part = association(pairs, PLAN), association(pairs[pairs["cluster"] == "r20"], PLAN)
    assert whole == part and whole.n == 12
    with pytest.raises(Untestable, match="no two subjects have the same relations"):
        association(in_relations([1] * 20, 0), PLAN)


@pytest.mark.slow
def test_association_of_small_relations_keeps_its_level():
    """Before, .17 of the nulls were rejected at relations of 1 and 20 subjects, .34 at 30 of 1 and one of 10."""
    plan = AnalysisPlan(draws=200, bootstrap=50)
    for sizes in ([1] * 20 + [20], [1] * 30 + [10], [2] * 10 + [20]):
        findings = [association(in_relations(sizes, seed), plan) for seed in range(100)]
        assert np.mean([one.p < 0.05 for one in findings]) <= 0.1, sizes
        assert np.mean([one.low <= 0 <= one.high for one in findings]) >= 0.9, sizes
