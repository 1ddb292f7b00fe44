"""Calibration: do the tests keep their level, and are verdicts right or "inconclusive", on curves whose truth is known?

    python -m valley.calibration.shapes                # the shape tests
    python -m valley.calibration.shapes --hypotheses   # the hypotheses; see valley/calibration/hypotheses.py

Every simulated run has three models per size. A score is the truth plus luck of training (80% of sd) plus the error of
finite facts (60% of sd), so that sd^2 is the whole variance. Variances are `right`: se^2 as given, tau^2 from the
seeds; `ignored`: se^2 alone, as if luck of training did not exist; `doubled`: twice what `right` gives.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from valley.calibration.hypotheses import calibrate_hypotheses, format_hypotheses
from valley.rows import write_whole
from valley.scores import AnalysisPlan
from valley.statistics import SHAPES, Points, SeedVariance, noise, prominence, prominence_test
from valley.verdicts import INCONCLUSIVE, NO_VALLEY, Rate, judge, verdict

SHAPES_TABLE, HYPOTHESES = "calibration.csv", "hypotheses.csv"
SPAN = 0.3  # from the lowest to the highest point of every truth
SEEDS = 3
TRAINING, FACTS = 0.8, 0.6  # shares of sd
VARIANCES = ("right", "ignored", "doubled")
DRAWS = 2000  # of the parametric bootstrap behind the rates; verdicts, slower by far, take the plan's
MONOTONE = ("flat", "exponential", "logistic")  # any valley, hump or four phases found here is a false positive


@dataclass(frozen=True)
class Setting:
    """One cell of the calibration."""

    truth: str
    rungs: int
    sd: float
    variance: str


def truth(name: str, x: np.ndarray) -> np.ndarray:
    """The true curve at strengths `x` in [0, 1]."""
    shapes = {
        "flat": np.zeros_like(x),
        "exponential": np.exp(-5 * x),
        "logistic": 1 / (1 + np.exp(-(x - 0.5) / 0.06)),
        "hump": np.exp(-0.5 * ((x - 0.45) / 0.15) ** 2),
        "valley": -np.exp(-0.5 * ((x - 0.45) / 0.15) ** 2),
        "four-phase": 0.5 * np.cos(3 * np.pi * x),
    }
    return 0.5 + SPAN * shapes[name]


def simulate(setting: Setting, runs: int, rng: np.random.Generator, luck: np.ndarray | None = None) -> tuple:
    """Simulated runs: mean scores (runs, rungs), their stated variances (runs, rungs), tau^2 (runs,), df.

    Args:
        luck: (runs, rungs, SEEDS) part of the luck of training that another method met on the same models.
    """
    mean = truth(setting.truth, np.linspace(0, 1, setting.rungs))
    shape = (runs, setting.rungs, SEEDS)
    own = rng.standard_normal(shape)
    trained = own if luck is None else np.sqrt(0.5) * (own + luck)
    scores = mean[:, None] + setting.sd * (TRAINING * trained + FACTS * rng.standard_normal(shape))
    se2 = (FACTS * setting.sd) ** 2
    within = scores.var(axis=2, ddof=1).mean(axis=1)
    tau2 = np.maximum(0.0, within - se2)
    if setting.variance == "ignored":
        return scores.mean(axis=2), np.full(shape[:2], se2 / SEEDS), np.zeros(runs), np.inf
    factor = 2.0 if setting.variance == "doubled" else 1.0
    variance = np.broadcast_to((factor * (tau2 + se2) / SEEDS)[:, None], shape[:2])
    return scores.mean(axis=2), variance, tau2, setting.rungs * (SEEDS - 1)


def rates(setting: Setting, runs: int, plan: AnalysisPlan) -> dict[str, Rate]:
    """How often each shape's prominence test rejects, at the plan's level."""
    seed = [plan.seed, *repr(setting).encode()]
    y, variance, _, df = simulate(setting, runs, np.random.default_rng(seed))
    errors = noise(setting.rungs, DRAWS, [*seed, 1], float(df))
    return {s: Rate(int((prominence_test(y, variance, errors, s)[1] < plan.level).sum()), runs) for s in SHAPES}


def verdicts(setting: Setting, runs: int, plan: AnalysisPlan) -> dict[str, Rate]:
    """How often the whole verdict is right, inconclusive or wrong, and how often the bound holds the true depth.

    Two methods on the same models (half the variance of luck shared) on two axes of strength. "No valley deeper than
    d" is right when the true valley is not deeper.
    """
    rng = np.random.default_rng([plan.seed, 2, *repr(setting).encode()])
    x = np.linspace(0, 1, setting.rungs)
    depth = max(0.0, float(prominence(truth(setting.truth, x))))
    shared = rng.standard_normal((runs, setting.rungs, SEEDS))
    methods = [simulate(setting, runs, rng, shared) for _ in range(2)]
    count = dict.fromkeys(("right", INCONCLUSIVE, "wrong", "covered"), 0)
    sizes = tuple(f"size {i}" for i in range(setting.rungs))
    for r in range(runs):
        lines = []
        for m, (y, variance, tau2, df) in enumerate(methods):
            for axis, strength in (("a", x), ("b", x**1.5)):
                between = SeedVariance(float(tau2[r]), int(df))
                curve = Points(sizes, strength, y[r], variance[r], np.full(setting.rungs, SEEDS), between)
                lines.append({"method": str(m), "axis": axis} | judge(curve, plan, detectable=np.nan))
        judged = verdict(pd.DataFrame(lines), plan)
        right = judged.outcome == setting.truth or (judged.outcome == NO_VALLEY and depth <= judged.bound)
        count["right" if right else judged.outcome if judged.outcome == INCONCLUSIVE else "wrong"] += 1
        count["covered"] += depth <= judged.bound
    return {name: Rate(hits, runs) for name, hits in count.items()}


def calibrate(settings: Sequence[Setting], runs: int, judged: int, plan: AnalysisPlan) -> pd.DataFrame:
    """One line per setting: rejection rates with 95% Wilson intervals over `runs`, verdicts over `judged` (right
    variances only)."""
    lines = []
    for setting in settings:
        line: dict[str, object] = {**vars(setting), "seeds": SEEDS, "runs": runs}
        for shape, rate in rates(setting, runs, plan).items():
            line |= {shape: rate.value, f"{shape}_low": rate.interval[0], f"{shape}_high": rate.interval[1]}
        if setting.variance == "right":
            line["judged"] = judged
            line |= {f"verdict_{name}": rate.value for name, rate in verdicts(setting, judged, plan).items()}
        lines.append(line)
    return pd.DataFrame(lines)


TRUTHS = (*MONOTONE, "hump", "valley", "four-phase")
GRID = tuple(Setting(*cell) for cell in product(TRUTHS, (5, 9), (0.03, 0.1), VARIANCES))
# Fewer draws than a real analysis takes: there are thousands of runs to judge.
PLAN = AnalysisPlan(draws=500)


def format_readme(table: pd.DataFrame, plan: AnalysisPlan) -> str:
    """The tables as Markdown."""
    false = table[table["truth"].isin(MONOTONE)]
    shown = [
        "# Calibration of the tests\n",
        "Rebuilt by `python -m valley.calibration.shapes`; every number is in `calibration.csv`. Truths span "
        f"{SPAN}; {SEEDS} models per size; sd is that of one model's score. See the docstring of "
        f"`valley/calibration/shapes.py`.\n",
        f"## False positives: prominence tests on monotone truths, level {plan.level:g}\n",
        f"Share of {int(table['runs'].iloc[0]):,} runs with p < {plan.level:g}. `ignored` shows what happens when "
        f"the luck of training is "
        "left out of the variance: such runs get no verdict.\n",
        _markdown(false, ["truth", "rungs", "sd", "variance", *SHAPES]),
        "\n## Power: the same tests on truths that are not monotone\n",
        _markdown(
            table[~table["truth"].isin(MONOTONE) & table["variance"].eq("right")], ["truth", "rungs", "sd", *SHAPES]
        ),
        "\n## Verdicts\n",
        f"Share of {int(table['judged'].max()):,} runs, two methods on two strength axes, variances estimated "
        f"from the seeds. `covered`: the "
        "upper bound holds the true depth of the valley. Five sizes are too few for the weights, so no shape is "
        "ever named there.\n",
        _markdown(
            table[table["variance"].eq("right")],
            ["truth", "rungs", "sd", "verdict_right", "verdict_inconclusive", "verdict_wrong", "verdict_covered"],
        ),
    ]
    return "\n".join(shown) + "\n"


def _markdown(table: pd.DataFrame, columns: list[str]) -> str:
    heads = [c.removeprefix("verdict_") for c in columns]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for line in table[columns].to_dict("records"):
        exact = ("truth", "rungs", "sd", "variance")
        cells = [str(v) if k in exact else f"{v:.3f}" for k, v in line.items()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m valley.calibration.shapes", description="Calibrate the tests.")
    parser.add_argument(
        "--out", type=Path, default=Path("results/calibration"), help="folder for the tables and README.md"
    )
    parser.add_argument("--hypotheses", action="store_true", help="H1 to H6, H8 and H9 in place of the shape tests")
    parser.add_argument("--runs", type=int, help="simulated runs per cell for the rates  [1000; of hypotheses 100]")
    parser.add_argument("--judged", type=int, default=100, help="of them judged whole")
    options = parser.parse_args(arguments)
    if options.hypotheses:
        name, table = HYPOTHESES, calibrate_hypotheses(options.runs or 100)
    else:
        name, table = SHAPES_TABLE, calibrate(GRID, options.runs or 1000, options.judged, PLAN)
    buffer = io.StringIO()
    table.to_csv(buffer, index=False, float_format="%.4f")
    _write(options.out / name, buffer.getvalue())
    _write(options.out / "README.md", _readme(options.out))


def _readme(folder: Path) -> str:
    """The page of the tables that are in `folder`: those of both calibrations, whichever was made last."""
    sections = ((SHAPES_TABLE, lambda table: format_readme(table, PLAN)), (HYPOTHESES, format_hypotheses))
    return "\n".join(
        made(pd.read_csv(folder / name, keep_default_na=False, na_values=[""]))
        for name, made in sections
        if (folder / name).exists()
    )


def _write(path: Path, text: str) -> None:
    print(f"wrote {write_whole(path, text)}")


if __name__ == "__main__":
    main()
