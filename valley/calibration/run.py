"""Proof of the rules by simulation: level, power and coverage on studies whose truth is known.

    python -m valley.calibration.run                 # every cell that is missing, then README.md
    python -m valley.calibration.run --readme        # README.md of the cells that are there
    python -m valley.calibration.run --hypotheses    # H1 to H6, H8, H9; see valley/calibration/hypotheses.py

A cell is one condition and has a file of one line in `cells/`; a run that was stopped goes on where it ended.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from valley.calibration.conditions import CONDITIONS, SE, SEEDS, SIZES, TAU, Condition
from valley.calibration.hypotheses import calibrate_hypotheses, format_hypotheses
from valley.calibration.intervals import coverage, coverage_available
from valley.calibration.rules import PLAN, rates
from valley.rows import write_whole
from valley.verdicts import INCONCLUSIVE, Rate

FOLDER, HYPOTHESES = Path("results/calibration"), "hypotheses.csv"
RUNS = 400
COVERAGES = tuple((relations, shared) for relations in (4, 10) for shared in (0.0, 0.05, 0.2))
DEV = (4, 8, 12, 30)


def cells(runs: int) -> dict[str, Callable[[], dict[str, object]]]:
    """File name of every cell -> what makes its line."""
    out: dict[str, Callable[[], dict[str, object]]] = {}
    for condition in CONDITIONS:
        out[f"rules-{slug(condition.name)}"] = lambda c=condition: rules_line(c, runs)
    for relations, shared in COVERAGES:
        name = f"interval-{relations}-relations-{shared:g}"
        out[name] = lambda g=relations, s=shared: coverage_line(
            f"{g} relations, sd {s:g} between them", coverage(g, s, runs)
        )
    for dev in DEV:
        out[f"available-{dev}-dev"] = lambda d=dev: coverage_line(
            f"what the rung makes available, {d} development cases", coverage_available(d, runs)
        )
    return out


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def rules_line(condition: Condition, runs: int) -> dict[str, object]:
    line: dict[str, object] = {
        "condition": condition.name,
        "truth": condition.truth,
        "depth": condition.depth,
        "runs": runs,
    }
    for name, rate in rates(condition, runs).items():
        line |= {name: rate.value, f"{name}_low": rate.interval[0], f"{name}_high": rate.interval[1]}
    return line


def coverage_line(name: str, rate: Rate) -> dict[str, object]:
    low, high = rate.interval
    return {"interval": name, "runs": rate.trials, "covered": rate.value, "covered_low": low, "covered_high": high}


def read(folder: Path, kind: str) -> pd.DataFrame:
    """The lines of all finished cells whose name starts with `kind`, in the order of `cells`."""
    paths = [folder / "cells" / f"{name}.csv" for name in cells(RUNS) if name.startswith(kind)]
    return pd.concat([pd.read_csv(path, keep_default_na=False) for path in paths if path.exists()], ignore_index=True)


def format_readme(rules: pd.DataFrame, intervals: pd.DataFrame) -> str:
    """The tables as Markdown."""
    about = (
        f"Share of runs, {SIZES} sizes of {SEEDS} models unless the condition says otherwise, 6 methods, two axes; sd "
        f"{TAU:g} between the seeds of a size, {SE:g} of one score by its cases. `wrong`: a shape is named that is not "
        "the truth (the level, to stay below .05). `right`: the truth is named (exponential and logistic are one). "
        f"`alone`: a wrong valley or hump has p < {PLAN.level:g} in the best method's curve alone, before axes, "
        "weights and witnesses are looked at. 95% binomial intervals."
    )
    lines = [
        "# Calibration: what the rules do on studies whose truth is known",
        "",
        "Rebuilt by `python -m valley.calibration.run`; every number is in `cells/`. Studies are simulated as",
        "`valley/calibration/conditions.py` says.",
        "",
        "## Shapes named",
        "",
        about,
        "",
        "| condition | truth | runs | wrong | 95% interval | right | 95% interval | inconclusive | alone |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in rules.to_dict("records"):
        parts = [f"{line[n]:.3f} | {line[n + '_low']:.3f} to {line[n + '_high']:.3f}" for n in ("wrong", "right")]
        first = f"| {line['condition']} | {line['truth']} | {line['runs']} | {' | '.join(parts)} "
        lines.append(f"{first}| {line[INCONCLUSIVE]:.3f} | {line['alone']:.3f} |")
    lines += [
        "",
        "## Intervals of 95%",
        "",
        "| interval of a score | runs | covered | 95% interval |",
        "|---|---|---|---|",
    ]
    for line in intervals.to_dict("records"):
        spread = f"{line['covered_low']:.3f} to {line['covered_high']:.3f}"
        lines.append(f"| {line['interval']} | {line['runs']} | {line['covered']:.3f} | {spread} |")
    return "\n".join(lines) + "\n"


def write_readme(folder: Path) -> None:
    intervals = pd.concat([read(folder, "interval"), read(folder, "available")], ignore_index=True)
    page = format_readme(read(folder, "rules"), intervals)
    if (folder / HYPOTHESES).exists():
        table = pd.read_csv(folder / HYPOTHESES, keep_default_na=False, na_values=[""])
        page += "\n" + format_hypotheses(table)
    print(f"wrote {write_whole(folder / 'README.md', page)}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m valley.calibration.run", description="Calibrate the rules.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for cells/ and README.md")
    parser.add_argument("--runs", type=int, help=f"simulated studies per cell  [{RUNS}; of hypotheses 100]")
    parser.add_argument("--hypotheses", action="store_true", help="the hypotheses in place of the rules")
    parser.add_argument("--readme", action="store_true", help="only write README.md")
    options = parser.parse_args(arguments)
    if options.hypotheses:
        table = calibrate_hypotheses(options.runs or 100)
        write_whole(options.out / HYPOTHESES, table.to_csv(index=False, float_format="%.4f"))
    elif not options.readme:
        for name, make in cells(options.runs or RUNS).items():
            path = options.out / "cells" / f"{name}.csv"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                print(f"wrote {write_whole(path, pd.DataFrame([make()]).to_csv(index=False, float_format='%.4f'))}")
    write_readme(options.out)


if __name__ == "__main__":
    main()
