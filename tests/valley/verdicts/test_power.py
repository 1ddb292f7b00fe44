"""Power: intervals by hand, rates that move the right way, the level kept, the same twice."""

from __future__ import annotations

import numpy as np
import pytest

from valley.rows.schema import RowsError
from valley.statistics import Points, SeedVariance
from valley.statistics.prominence import prominence
from valley.verdicts.power import Rate, detectable_depth, detection, dip, power


def test_wilson_interval_by_hand():
    assert np.allclose(Rate(5, 50).interval, (0.0435, 0.2136), atol=5e-4)
    assert Rate(0, 20).interval[0] == 0 and Rate(20, 20).interval[1] == 1


@pytest.mark.parametrize("n", [3, 4, 8, 13])
def test_the_dip_has_its_depth(n: int):
    assert np.isclose(prominence(dip(n, 0.2)), 0.2)


def test_power_rises_with_depth_and_seeds_and_false_alarms_do_not():
    variance = np.full(8, 0.03**2)
    rates = [detection(dip(8, d), variance, np.inf, 0.05, 300, 0).value for d in (0.02, 0.1, 0.2)]
    assert rates[0] < 0.2 < rates[1] < rates[2] and rates[2] > 0.95
    result = power(8, 3, 0.03, 0.1, simulations=400)
    assert result == power(8, 3, 0.03, 0.1, simulations=400), "the same seed, the same result"
    assert all(rate.interval[0] <= 0.05 for rate in result.false_alarms.values())
    assert result.detected.value > power(8, 2, 0.03, 0.1, simulations=400).detected.value


def flat(n: int, variance: np.ndarray) -> Points:
    """A curve of n sizes with three seeds each, whose variance is all luck of training."""
    names, seeds = tuple(f"m{i}" for i in range(n)), np.full(n, 3)
    y = np.full(n, 0.5)
    return Points(names, np.arange(n), y, variance, np.zeros(n), seeds, seeds - 1, SeedVariance(0.0009, 2 * n))


def test_detectable_depth_is_detected_at_the_target_rate():
    variance = np.full(8, 0.03**2 / 3)
    depth = detectable_depth(flat(8, variance))
    rate = detection(dip(8, depth), variance, 16.0, 0.05, 600, 9)
    assert 0.7 < rate.value < 0.9
    assert np.isnan(detectable_depth(flat(2, variance[:2])))


def test_bad_designs_are_refused_in_one_line():
    for bad in (
        (2, 3, 0.03, 0.2),
        (8, 0, 0.03, 0.2),
        (8, 3, 0.0, 0.2),
        (8, 3, 0.03, -1.0),
        (8, 3, 0.03, np.nan),
        (8, 3, np.inf, 0.2),
    ):
        with pytest.raises(RowsError):
            power(*bad)
