"""Simulated studies whose truth is known, with the nuisances that a real one may have.

A study has 9 grown sizes of 3 seeds and 2 pretrained models, and METHODS methods on all of them. The score of a method
at one model is

    truth(size) + level(method) + shift(family) + facts(size) + luck(model) + answers(model)

`facts` are what the sampled cases mean at this size only, the same for all seeds; half the variance of `facts` and of
`luck` is shared by all methods. The best method of a model is the one that scores best on `dev` development cases.
Standard deviations are those of the first study's facts with the best method: TAU between the seeds of a size, SE of
one model's score by its cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valley.statistics import prominence, size_variance

SIZES, SEEDS, PRETRAINED, METHODS = 9, 3, 2, 6
TAU, SE, DEV_SD = 0.011, 0.018, 0.35
HIGH = 0.75  # where curves start
STEP = 0.015  # from the best method to the next


@dataclass(frozen=True)
class Condition:
    """One truth with its nuisances.

    Attributes:
        truth: flat, decline, exponential, logistic, valley, hump. depth: span of a monotone truth, else the depth.
        seeds: models of each grown size. wild: sizes whose luck has `wildness` times the standard deviation.
        shared_error: share of SE^2 that the seeds of a size share. stated: stated over true standard errors.
        tails: degrees of freedom of Student's t for the luck; 0 is normal. shift: added to the pretrained models.
        artefact: (fall, sizes) of the first two methods, that share a grid of layers; methods: number of methods.
        noise_axis: place of an axis that orders the sizes at random; -1 none. saturated: scores end at 1.
        dev: development cases of the weakest and of the strongest size. settings: candidates of each method.
    """

    name: str
    truth: str = "flat"
    depth: float = 0.0
    seeds: tuple[int, ...] = (SEEDS,) * SIZES
    wild: tuple[int, ...] = ()
    wildness: float = 4.0
    shared_error: float = 0.15
    stated: float = 1.0
    tails: int = 0
    shift: float = 0.0
    artefact: tuple[float, int] = (0.0, 0)
    methods: int = METHODS
    noise_axis: int = -1
    saturated: bool = False
    dev: tuple[int, int] = (30, 30)
    settings: int = 1

    @property
    def shape(self) -> str:
        """What a verdict may call it; "" where no shape is right."""
        return {"flat": "", "decline": "exponential"}.get(self.truth, self.truth)


def truth(name: str, depth: float, n: int = SIZES) -> np.ndarray:
    """The true curve of n sizes, strongest last."""
    x = np.linspace(0, 1, n)
    bell = np.exp(-0.5 * ((x - x[(n - 1) // 2]) / 0.15) ** 2)
    bell /= prominence(bell, "hump")
    curves = {
        "flat": np.zeros(n),
        "decline": -x,
        "exponential": np.exp(-5 * x) - 1,
        "logistic": 1 / (1 + np.exp(-(x - 0.5) / 0.06)) - 1,
        "valley": -bell,
        "hump": bell - 1,
    }
    return HIGH + depth * curves[name]


NULL = Condition("flat")
CONDITIONS: tuple[Condition, ...] = (
    NULL,
    Condition("exponential", "exponential", 0.3),
    Condition("logistic", "logistic", 0.3),
    Condition("one mid rung with 4x tau", wild=(4,)),
    Condition("weak rungs with 4x tau, logistic", "logistic", 0.3, wild=(0, 1)),
    Condition("fact x size error 35%", shared_error=0.35),
    Condition("fact x size error 60%", shared_error=0.60),
    Condition("standard errors understated by 25%", shared_error=0.35, stated=0.75),
    Condition("heavy tails", tails=3),
    Condition("1 to 3 seeds", seeds=(1, 2, 3, 2, 1, 3, 2, 3, 1)),
    Condition("one seed at 7 of 9 sizes", seeds=(3, 1, 1, 1, 3, 1, 1, 1, 1)),
    Condition("one seed at the top", seeds=(3,) * 8 + (1,)),
    Condition("level shift .1", "decline", 0.3, shift=0.1),
    Condition("level shift .2", "decline", 0.3, shift=0.2),
    Condition("grid artefact .15 at 3 sizes", artefact=(0.15, 3)),
    Condition("grid artefact .2 at 2 sizes", artefact=(0.2, 2)),
    Condition("grid artefact, no other methods", artefact=(0.2, 2), methods=2),
    Condition("noise axis second", "decline", 0.3, noise_axis=1),
    Condition("noise axis first", "decline", 0.3, noise_axis=0),
    Condition("saturated scores", "logistic", 0.3, saturated=True),
    Condition("4 to 12 development cases", dev=(4, 12), settings=12),
    Condition("valley .10", "valley", 0.10),
    Condition("valley .15", "valley", 0.15),
    Condition("hump .10", "hump", 0.10),
    Condition("hump .15", "hump", 0.15),
)


@dataclass(frozen=True)
class Runs:
    """Simulated studies: `y` (runs, curves, sizes) mean scores, curve 0 that of the best method, the others METHODS.

    variance, known: (runs, curves, sizes) as an analysis estimates them. seeds: (sizes,). tau2: (runs, curves).
    """

    y: np.ndarray
    variance: np.ndarray
    known: np.ndarray
    seeds: np.ndarray
    tau2: np.ndarray


def simulate(condition: Condition, runs: int, rng: np.random.Generator, apart: bool = True) -> Runs:
    """Draw studies.

    Args:
        apart: only the grown family, as the rules judge it; False: with the pretrained models as two more sizes.
    """
    seeds = np.array([*condition.seeds, *([1] * PRETRAINED)])
    grown = truth(condition.truth, condition.depth)
    mean = np.append(grown, np.repeat(grown[-1], PRETRAINED))
    mean[SIZES:] += condition.shift
    n, k, top = len(seeds), condition.methods, int(seeds.max())
    wild = np.ones(n)
    wild[list(condition.wild)] = condition.wildness

    def luck(*shape: int) -> np.ndarray:
        if not condition.tails:
            return rng.standard_normal(shape)
        return rng.standard_t(condition.tails, shape) / np.sqrt(condition.tails / (condition.tails - 2))

    facts_sd, own_sd = SE * np.sqrt(condition.shared_error), SE * np.sqrt(1 - condition.shared_error)
    half = np.sqrt(0.5)
    facts = facts_sd * half * (rng.standard_normal((runs, 1, n, 1)) + rng.standard_normal((runs, k, n, 1)))
    trained = TAU * half * wild[:, None] * (luck(runs, 1, n, top) + luck(runs, k, n, top))
    level = mean[:, None] - STEP * np.arange(k)[:, None, None]
    true = np.broadcast_to(level, (k, n, top)) + trained
    fall, at = condition.artefact
    if at:
        true = true.copy()
        start = (SIZES - at) // 2
        true[:, :2, start : start + at] += 0.08 - fall  # the two are the best elsewhere
        true[:, :2, :start] += 0.08
        true[:, :2, start + at :] += 0.08
    cases = np.append(np.linspace(*condition.dev, SIZES), [condition.dev[1]] * PRETRAINED)
    error = DEV_SD / np.sqrt(cases)[:, None]
    if condition.settings > 1:
        spread = 0.05 * rng.standard_normal((runs, k, n, top, condition.settings))
        dev = spread + error[..., None] * rng.standard_normal(spread.shape)
        true = true + np.take_along_axis(spread, dev.argmax(axis=-1)[..., None], -1)[..., 0]
    scores = true + facts + own_sd * rng.standard_normal((runs, k, n, top))
    if condition.saturated:
        scores = np.minimum(scores + 0.2, 1.0)
    picked = (true + error * rng.standard_normal(true.shape)).argmax(axis=1)[:, None]
    scores = np.concatenate([np.take_along_axis(scores, picked, axis=1), scores], axis=1)
    sizes = slice(0, SIZES if apart else n)
    facts2, own2 = ((condition.stated * sd) ** 2 for sd in (facts_sd, own_sd))
    return estimated(scores[:, :, sizes], seeds[sizes], facts2, own2)


def estimated(scores: np.ndarray, seeds: np.ndarray, facts: float, own: float) -> Runs:
    """What an analysis makes of scores (runs, curves, sizes, most seeds), of which a size has `seeds` (sizes,)."""
    there = np.arange(scores.shape[-1]) < seeds[:, None]
    mean = (scores * there).sum(-1) / seeds
    spread = (((scores - mean[..., None]) ** 2) * there).sum(-1) / np.maximum(seeds - 1, 1)
    stated = np.ones(len(seeds))
    variance, known, tau2 = size_variance(spread, seeds, facts * stated, own * stated)
    return Runs(mean, variance, np.minimum(known, variance), seeds, tau2)
