"""Proof of the rules by simulation: level, power and coverage on studies whose truth is known.

    python -m valley.calibration.run                 # every cell that is missing, then README.md
    python -m valley.calibration.run --seed 1        # the same with fresh random numbers, into cells-seed-1/
    python -m valley.calibration.run --readme        # README.md of the cells that are there
    python -m valley.calibration.run --hypotheses    # H1 to H6, H8, H9; see valley/calibration/hypotheses.py

A cell is one condition and has a file of one line in `cells/`; a run that was stopped goes on where it ended.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from editing.lazy import pandas as pd
from valley.calibration.conditions import CONDITIONS, SE, SEEDS, SIZES, TAU, Condition
from valley.calibration.hypotheses import calibrate_hypotheses
from valley.calibration.intervals import coverage, coverage_available, coverage_compare
from valley.calibration.rules import MONOTONE, PLAN, rates
from valley.hypotheses import REFUTED, SUPPORTED
from valley.rows import write_whole
from valley.verdicts import INCONCLUSIVE, Rate

FOLDER, HYPOTHESES = Path("results/calibration"), "hypotheses.csv"
RUNS = 400
COVERAGES = tuple((relations, shared) for relations in (4, 10) for shared in (0.0, 0.05, 0.2))
DEV = (4, 8, 12, 30)
LADDERS = ((1, 1), (2, 1), (1, 3), (3, 1), (3, 3), (5, 3), (9, 3))  # sizes x seeds of two runs that are compared
FRESH = 1  # the seed of the second, independent set of runs


def cells(runs: int, seed: int = 0) -> dict[str, Callable[[], dict[str, object]]]:
    """File name of every cell -> what makes its line."""
    out: dict[str, Callable[[], dict[str, object]]] = {}
    for condition in CONDITIONS:
        out[f"rules-{slug(condition.name)}"] = lambda c=condition: rules_line(c, runs, seed)
    for relations, shared in COVERAGES:
        name = f"interval-{relations}-relations-{shared:g}"
        out[name] = lambda g=relations, s=shared: coverage_line(
            f"{g} relations, sd {s:g} between them", coverage(g, s, runs, seed)
        )
    for dev in DEV:
        out[f"available-{dev}-dev"] = lambda d=dev: coverage_line(
            f"what the rung makes available, {d} development cases", coverage_available(d, runs, seed=seed)
        )
    for sizes, seeds in LADDERS:
        out[f"compare-{sizes}x{seeds}"] = lambda n=sizes, m=seeds: coverage_line(
            f"difference of two runs, {n} sizes of {m} models", coverage_compare(n, m, runs, seed=seed)
        )
    return out


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def rules_line(condition: Condition, runs: int, seed: int = 0) -> dict[str, object]:
    line: dict[str, object] = {
        "condition": condition.name,
        "truth": condition.truth,
        "depth": condition.depth,
        "runs": runs,
    }
    for name, rate in rates(condition, runs, seed).items():
        line |= {name: rate.value, f"{name}_low": rate.interval[0], f"{name}_high": rate.interval[1]}
    return line


def coverage_line(name: str, rate: Rate) -> dict[str, object]:
    low, high = rate.interval
    return {"interval": name, "runs": rate.trials, "covered": rate.value, "covered_low": low, "covered_high": high}


def cells_of(seed: int) -> str:
    """The folder of the cells of that seed."""
    return f"cells-seed-{seed}" if seed else "cells"


def read(folder: Path, kind: str, seed: int = 0) -> pd.DataFrame:
    """The lines of all finished cells whose name starts with `kind`, in the order of `cells`; empty where none is."""
    paths = [folder / cells_of(seed) / f"{name}.csv" for name in cells(RUNS) if name.startswith(kind)]
    tables = [pd.read_csv(path, keep_default_na=False) for path in paths if path.exists()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def format_readme(rules: pd.DataFrame, intervals: pd.DataFrame, fresh: pd.DataFrame, again: pd.DataFrame) -> str:
    """The tables as Markdown.

    Args:
        fresh, again: `rules` and `intervals` with the seed FRESH; empty tables leave their columns empty.
    """
    other = {line["condition"]: line for line in fresh.to_dict("records")}
    twice = {line["interval"]: f"{line['covered']:.3f}" for line in again.to_dict("records")}
    about = (
        f"Each run is a simulated study: {SIZES} sizes with {SEEDS} models each, unless the condition says otherwise, "
        f"with 6 methods and two strength axes. The standard deviation between the seeds of a size (tau) is {TAU:g}.\n"
        f"The standard deviation of one score from its choice of cases is {SE:g}. All intervals are 95% binomial "
        "intervals. Shares are of runs:"
    )
    columns = [
        "* `wrong`: the verdict names a shape that is not the true one. This share must stay at or below .05.",
        "* `right`: the verdict names the true shape. Exponential and logistic count as the same shape. Where the "
        "truth is flat, no shape is right.",
        "* `inconclusive`: the verdict names no shape.",
        f"* `alone`: the control. The curve of the best method alone, without the rules on axes, weights and "
        f"independent methods, has p < {PLAN.level:g} for a valley or a hump that is not there.",
        f"* `fresh`: `wrong` and `right` on another {RUNS} runs with other random numbers (`--seed {FRESH}`), made "
        "after the rules were fixed.",
    ]
    lines = [
        "# Calibration: what the rules do on studies whose truth is known",
        "",
        "Question: on simulated studies whose truth is known, how often do the rules for shapes, intervals and "
        "hypotheses give a wrong answer?",
        "",
        *answer(rules, intervals, fresh, again),
        "",
        "`python -m valley.calibration.run` rebuilds this page. Every number is in `cells/` and, for other random "
        "numbers, in `cells-seed-1/`.",
        "`valley/calibration/conditions.py` defines the simulated studies.",
        "",
        "## Targets, and what was reached",
        "",
        "Each line gives the target, then the worst value (or the range) over all conditions and both seeds.",
        "",
        *targets(rules, intervals, fresh, again),
        "",
        "## Shapes named",
        "",
        about,
        "",
        *columns,
        "",
        "| condition | truth | runs | wrong | 95% interval | right | 95% interval | inconclusive | alone | fresh |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for line in rules.to_dict("records"):
        parts = [f"{line[n]:.3f} | {line[n + '_low']:.3f} to {line[n + '_high']:.3f}" for n in ("wrong", "right")]
        first = f"| {line['condition']} | {line['truth']} | {line['runs']} | {' | '.join(parts)} "
        new = other.get(line["condition"])
        check = "" if new is None else f"{new['wrong']:.3f}, {new['right']:.3f}"
        lines.append(f"{first}| {line[INCONCLUSIVE]:.3f} | {line['alone']:.3f} | {check} |")
    lines += [
        "",
        "## Intervals of 95%",
        "",
        "`covered` is the share of runs whose interval contains the true value, with its own 95% binomial interval. "
        "`fresh` is the same share on the other random numbers.",
        '"What the rung makes available" is the score of the best of 24 settings, chosen on the stated number of '
        "development cases and scored on 120 other cases.",
        "",
        "| interval of a score | runs | covered | 95% interval | fresh |",
        "|---|---|---|---|---|",
    ]
    for line in intervals.to_dict("records"):
        spread = f"{line['covered_low']:.3f} to {line['covered_high']:.3f}"
        check = twice.get(line["interval"], "")
        lines.append(f"| {line['interval']} | {line['runs']} | {line['covered']:.3f} | {spread} | {check} |")
    return "\n".join(lines) + "\n"


def answer(rules: pd.DataFrame, intervals: pd.DataFrame, fresh: pd.DataFrame, again: pd.DataFrame) -> list[str]:
    """Lines of the answer in short: error, power, coverage and inconclusive verdicts over both seeds."""
    both = pd.concat([rules, fresh], ignore_index=True)
    covered = pd.concat([intervals, again], ignore_index=True)["covered"]
    valley = both[both["condition"] == "valley .10"]
    power, low = valley["right"].min(), valley["right_low"].min()
    unsure = both.groupby("truth")[INCONCLUSIVE].agg(["min", "max"])
    flat, monotone = (unsure.loc[unsure.index.isin(names)] for names in (("flat",), (*MONOTONE, "decline")))
    return [
        f"Answer: the rules name a wrong shape in at most {both['wrong'].max():.4f} of the runs of any condition "
        f"(95% intervals end at {both['wrong_high'].max():.3f} or below).\nThey name a valley of depth .10 in at "
        f"least {power:.3f} of runs (intervals start at {low:.3f} or above).",
        f"Intervals of 95% contain the truth in {covered.min():.3f} to {covered.max():.3f} of runs.",
        f"The cost is many inconclusive verdicts: {flat['min'].min():.3f} or more of the runs of a flat curve, and "
        f"{monotone['min'].min():.3f} to {monotone['max'].max():.3f} of a monotone one.",
    ]


def targets(rules: pd.DataFrame, intervals: pd.DataFrame, fresh: pd.DataFrame, again: pd.DataFrame) -> list[str]:
    """Lines of what was aimed at and the least or greatest value that was measured, over both seeds."""
    both = pd.concat([rules, fresh], ignore_index=True)
    covered = pd.concat([intervals, again], ignore_index=True)

    def least_and_most(words: str) -> str:
        part = covered.loc[covered["interval"].str.contains(words), "covered"]
        return f"{part.min():.3f} to {part.max():.3f}"

    power = [both.loc[both["condition"] == f"valley {depth}", "right"].min() for depth in (".10", ".15")]
    return [
        f"* Wrong shape. Target: at most .05 of the runs of every condition. Reached: at most "
        f"{both['wrong'].max():.4f}.",
        f"* Valley named. Target: .75 of runs at a depth of .10, .95 at a depth of .15. Reached: at least "
        f"{power[0]:.3f} and {power[1]:.3f}.",
        f"* Intervals of a score. Target: coverage of .93 to .97. Reached: {least_and_most('relations, sd')}.",
        f"* Intervals of what a rung makes available. Target: coverage of .90 or more. Reached: "
        f"{least_and_most('makes available')}.",
        f"* Intervals of differences between runs. No target. Reached: {least_and_most('difference of two')}.",
    ]


def _too_often(table: pd.DataFrame) -> str:
    above = table[table["truth"].eq("null") & table["rejected_low"].gt(PLAN.level)]
    return ", ".join(f"{r.hypothesis} with {r.world} ({r.rejected:.2f})" for r in above.itertuples()) or "none"


def format_hypotheses(table: pd.DataFrame) -> str:
    """The table as a section of Markdown."""
    null, effect = (table.loc[table["truth"] == name, "rejected"] for name in ("null", "effect"))
    lines = [
        "## Hypotheses H1 to H6, H8, H9",
        "",
        f"The tests reject a true null in {null.min():.3f} to {null.max():.3f} of runs (.05 would be exact), and find "
        f"a clear effect in {effect.min():.3f} to {effect.max():.3f}. Their intervals are in the table.",
        "`python -m valley.calibration.run --hypotheses` rebuilds this table. Every number is in `hypotheses.csv`. "
        "The docstring of `valley/calibration/hypotheses.py` describes the simulation.",
        "",
        f"* `rejected`: share of runs with p < {PLAN.level:g} before Holm's correction, with its 95% interval. Tests "
        "are two-sided, except those of H2 and H4.",
        "* `supported`, `refuted`, `inconclusive`: share of runs with each verdict. Under a null, `supported` is the "
        "error. Under an effect, `refuted` is the error.",
        "* The null of H2 is a smooth rise. The null of H4: each size has another best layer, which its seeds and "
        "methods share. The null of H9: transfer is predicted, specificity is not.",
        f"* Each row has {int(table['runs'].min())} to {int(table['runs'].max())} runs, which can tell a rate of .05 "
        "from .20 but make no finer distinction. Combinations that are not in the table were not run.",
        f"* Null worlds in which a test rejects too often (the interval lies above {PLAN.level:g}): "
        f"{_too_often(table)}.",
        "",
        "| hypothesis | world | truth | runs | rejected | 95% interval | supported | refuted | inconclusive |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in table.to_dict("records"):
        rate = f"{line['rejected']:.3f} | {line['rejected_low']:.3f} to {line['rejected_high']:.3f}"
        shares = " | ".join(f"{line[name]:.2f}" for name in (SUPPORTED, REFUTED, INCONCLUSIVE))
        lines.append(
            f"| {line['hypothesis']} | {line['world']} | {line['truth']} | {line['runs']} | {rate} | {shares} |"
        )
    return "\n".join(lines) + "\n"


def write_readme(folder: Path) -> None:
    """README.md from what is in the folder; without the cells of both seeds there is none to write."""
    if not all((folder / cells_of(seed)).is_dir() for seed in (0, FRESH)):
        print(f"{folder}: no README.md without the cells of seeds 0 and {FRESH}")
        return
    kinds = ("interval", "available", "compare")
    old, new = (pd.concat([read(folder, kind, seed) for kind in kinds], ignore_index=True) for seed in (0, FRESH))
    page = format_readme(read(folder, "rules"), old, read(folder, "rules", FRESH), new)
    if (folder / HYPOTHESES).exists():
        table = pd.read_csv(folder / HYPOTHESES, keep_default_na=False, na_values=[""])
        page += "\n" + format_hypotheses(table)
    print(f"wrote {write_whole(folder / 'README.md', page)}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m valley.calibration.run", description="Calibrate the rules.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for cells/ and README.md")
    parser.add_argument("--runs", type=int, help=f"simulated studies per cell  [{RUNS}; of hypotheses 100]")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the simulated studies")
    parser.add_argument("--hypotheses", action="store_true", help="the hypotheses in place of the rules")
    parser.add_argument("--readme", action="store_true", help="only write README.md")
    options = parser.parse_args(arguments)
    if options.hypotheses:
        table = calibrate_hypotheses(options.runs or 100)
        write_whole(options.out / HYPOTHESES, table.to_csv(index=False, float_format="%.4f"))
    elif not options.readme:
        for name, make in cells(options.runs or RUNS, options.seed).items():
            path = options.out / cells_of(options.seed) / f"{name}.csv"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                print(f"wrote {write_whole(path, pd.DataFrame([make()]).to_csv(index=False, float_format='%.4f'))}")
    write_readme(options.out)


if __name__ == "__main__":
    main()
