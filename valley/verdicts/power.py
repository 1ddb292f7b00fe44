"""What a ladder can see: how often the prominence test finds a valley of a given depth, and the smallest one it finds.

    python cli.py power --rungs 8 --seeds 3 --sd .03 --depth .2

One score of one model scatters around the curve with standard deviation `sd` (luck of its training and finite facts
together). Each simulated run estimates that variance from its own seeds, as a real one does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np
from scipy.stats import binomtest

from valley.rows import RowsError
from valley.statistics import Points, noise, prominence, prominence_test

TARGET = 0.8  # the power at which a depth counts as detectable
DRAWS = 1000  # of the parametric bootstrap within each simulated run


@dataclass(frozen=True)
class Rate:
    """How often something happened, with its 95% Wilson interval."""

    hits: int
    trials: int

    @property
    def value(self) -> float:
        return self.hits / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson (1927): stays inside [0, 1] and honest near its ends."""
        low, high = binomtest(self.hits, self.trials).proportion_ci(method="wilson")
        return float(low), float(high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} (95% interval {low:.3f} to {high:.3f})"


@dataclass(frozen=True)
class Power:
    """What `power` found. `detectable` is the smallest depth found at rate TARGET; NaN where none is.

    `false_alarms` has the rate on a flat curve and on an exponential decline as deep as `depth`.
    """

    rungs: int
    seeds: int
    sd: float
    depth: float
    level: float
    detected: Rate
    false_alarms: dict[str, Rate]
    detectable: float

    def as_json(self) -> dict[str, object]:
        out: dict[str, object] = {name: getattr(self, name) for name in ("rungs", "seeds", "sd", "depth", "level")}
        rates = {"detected": self.detected, **{f"false_alarm_{k}": v for k, v in self.false_alarms.items()}}
        out |= {name: {"rate": r.value, "low": r.interval[0], "high": r.interval[1]} for name, r in rates.items()}
        return out | {"detectable": None if np.isnan(self.detectable) else self.detectable}


def dip(n: int, depth: float) -> np.ndarray:
    """(n,) a flat curve with a smooth valley of prominence `depth` in its middle, as wide as a third of the ladder."""
    x = np.linspace(0, 1, n)
    middle = x[(n - 1) // 2]
    bell = -np.exp(-0.5 * ((x - middle) / 0.15) ** 2)
    return bell * depth / prominence(bell)


def detection(
    truth: np.ndarray, variance: np.ndarray, df: float, level: float, simulations: int, seed: int, draws: int = DRAWS
) -> Rate:
    """How often the prominence test finds a valley on runs drawn around `truth`.

    Args:
        truth: (n,) the true curve. variance: (n,) of a rung's mean score. df: degrees of freedom with which a run
            estimates it (by chi^2, one factor for all rungs); infinite when it is known.
    """
    rng = np.random.default_rng([seed, 1])
    y = truth + np.sqrt(variance) * rng.standard_normal((simulations, len(truth)))
    factor = np.ones((simulations, 1)) if np.isinf(df) else rng.chisquare(df, size=(simulations, 1)) / df
    p = prominence_test(y, variance * factor, noise(len(truth), draws, [seed, 2], df))[1]
    return Rate(int((p < level).sum()), simulations)


def smallest(variance: np.ndarray, detected: Callable[[float], bool]) -> float:
    """The smallest depth that is `detected`, by bisection to 1/20 of the largest standard error; NaN where none."""
    unit = float(np.sqrt(np.max(variance, initial=0)))
    low, high = 0.0, 20 * unit
    if not detected(high):
        return np.nan
    while high - low > 0.05 * unit:
        middle = (low + high) / 2
        low, high = (low, middle) if detected(middle) else (middle, high)
    return high


def detectable_depth(points: Points, level: float = 0.05, simulations: int = 200, seed: int = 0) -> float:
    """The smallest depth of `dip` that this curve's errors would show at rate TARGET; NaN with fewer than three rungs
    or when none is.

    The same random numbers are used at every depth.
    """
    n = len(points.x)
    if n < 3:
        return np.nan
    drawn = points.errors(simulations, [seed, 1])
    errors = points.errors(DRAWS // 2, [seed, 2])
    noise_drawn = np.sqrt(points.variance) * drawn.z

    def found(depth: float) -> bool:
        p = prominence_test(dip(n, depth) + noise_drawn, points.variance, errors, "valley", points.known)[1]
        return float((p < level).mean()) >= TARGET

    return smallest(points.variance, found)


def power(
    rungs: int, seeds: int, sd: float, depth: float, level: float = 0.05, simulations: int = 2000, seed: int = 0
) -> Power:
    """The power of a ladder of `rungs` sizes with `seeds` models each.

    With one seed the variance is taken as known to be sd^2, which no real run could know.

    Raises:
        RowsError: fewer than three rungs, no seed, sd or depth not positive, level not in (0, 1).
    """
    if rungs < 3:
        raise RowsError(f"--rungs {rungs}: a valley needs at least 3 rungs")
    if seeds < 1 or not 0 < sd < inf or not 0 < depth < inf or not 0 < level < 1:
        raise RowsError("power: seeds must be 1 or more, sd and depth above 0 and finite, level between 0 and 1")
    variance, df = np.full(rungs, sd**2 / seeds), float(rungs * (seeds - 1)) if seeds > 1 else np.inf
    monotone = {"flat": np.zeros(rungs), "decline": depth * np.exp(-4 * np.linspace(0, 1, rungs))}
    return Power(
        rungs, seeds, sd, depth, level,
        detection(dip(rungs, depth), variance, df, level, simulations, seed),
        {name: detection(truth, variance, df, level, simulations, seed) for name, truth in monotone.items()},
        smallest(variance, lambda d: detection(dip(rungs, d), variance, df, level, 400, seed, 500).value >= TARGET),
    )  # fmt: skip


def format_power(power: Power) -> str:
    """The findings as text for a terminal."""
    known = "; variance taken as known, which one seed cannot show" if power.seeds == 1 else ""
    depth = "none" if np.isnan(power.detectable) else f"{power.detectable:.3f}, {power.detectable / power.sd:.1f} sd"
    return "\n".join((
        f"{power.rungs} rungs, {power.seeds} seeds each, sd {power.sd:g} between models of one size{known}",
        f"a valley {power.depth:g} deep is found at p < {power.level:g}: {power.detected}",
        *(f"false alarms on a curve that is {'flat' if k == 'flat' else 'a decline'}: {rate}"
          for k, rate in power.false_alarms.items()),
        f"smallest valley found {TARGET:.0%} of the time: {depth}",
    ))  # fmt: skip
