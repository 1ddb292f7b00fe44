"""`python -m benchmarks.speed.methods.search OUT.csv`: about 30 settings of every method, compared with its default.

The facts and scores are those of `benchmarks.speed.methods.presets`. OUT.csv has one line per model, method and
settings (`benchmarks.speed.methods.grids`), written as soon as it is measured. `gain` is the composite minus that of
the default on the same facts, with a paired interval. The placebo of settings that cannot become the best is not
measured: generalisation is at most paraphrase, and where even that gives no higher composite than the best so far, or
where efficacy is too low and that of other settings is not, composite and gain stay empty.

The best setting is chosen on the facts that it is scored on. So where it gains more than `SLACK`, it and the default
are measured once more on as many other known facts, which did not choose it: the columns `other_...` of its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click

from benchmarks.cases import Case
from benchmarks.measure import Base
from benchmarks.speed.methods.grids import FEW, SEARCH, tried
from benchmarks.speed.methods.presets import (
    Outcome,
    composite_of,
    known_cases,
    measuring,
    opened,
    outcome,
    rows_of,
    write,
)
from editing.errors import UserError
from editing.model import LanguageModel
from editing.stats import ModelStatistics

ENOUGH, SLACK = 0.95, 0.05  # efficacy that a setting is to reach; how far below the best a default may be
KEPT = ("n", "efficacy", "generalisation", "specificity", "composite", "low", "high")


def best_of(rows: Sequence[dict[Any, Any]]) -> dict[Any, Any] | None:
    """The line with the highest composite, of those that reach ENOUGH where any does; None without a composite."""
    scored = [row for row in rows if row.get("composite") not in ("", None) and float(row["composite"]) >= 0]
    reaching = [row for row in scored if float(row["efficacy"]) >= ENOUGH]
    return max(reaching or scored, key=lambda row: float(row["composite"]), default=None)


class Facts:
    """Some known facts of one model, and what a method's default does to them, measured when it is first needed."""

    def __init__(self, lm: LanguageModel, statistics: ModelStatistics, cases: Sequence[Case], base: Base) -> None:
        self.lm, self.statistics, self.cases, self.base = lm, statistics, cases, base
        self.defaults: dict[str, Outcome | UserError] = {}

    def at(self, name: str, settings: dict, best: dict[Any, Any] | None = None) -> Outcome:
        """The outcome at `settings`, with the placebo only where it could be better than `best`.

        Raises:
            UserError: the method refuses these settings on this model.
        """

        def worth(efficacy: float, bound: float) -> bool:
            if best is None:
                return True
            reached, composite = float(best["efficacy"]) >= ENOUGH, float(best["composite"])
            return (efficacy >= ENOUGH and not reached) or (bound > composite and (efficacy >= ENOUGH or not reached))

        return outcome(self.lm, self.cases, self.base, self.statistics, name, settings, worth)

    def measured_default(self, name: str) -> Outcome:
        """The outcome of the default.

        Raises:
            UserError: it is refused on this model.
        """
        if name not in self.defaults:
            try:
                self.defaults[name] = self.at(name, {})
            except UserError as error:
                self.defaults[name] = error
        default = self.defaults[name]
        if isinstance(default, UserError):
            raise default
        return default

    def gain(self, name: str, one: Outcome) -> tuple[float, float, float]:
        """How much the composite is above the default's, and the interval; above 0 where the default is refused."""
        try:
            default = self.measured_default(name)
        except UserError:
            return composite_of(one.general, one.special)
        return composite_of(one.general, one.special, (default.general, default.special))


def searched(
    facts: Facts, name: str, rows: Sequence[dict[Any, Any]], few: bool, whole: bool = False, most: int = 1000
) -> Iterator[dict[str, Any]]:
    """The missing lines of one method, one by one; `rows` are those that there are.

    Args:
        whole: whether every placebo is measured. most: how many settings are tried.
    """
    done, lines = {row["settings"] for row in rows}, list(rows)
    for settings in islice(tried(name, facts.lm, few), most):
        key = json.dumps(settings)
        if key in done:
            continue
        line: dict[str, Any] = {"settings": key}
        try:
            one = (
                facts.at(name, settings, None if whole else best_of(lines))
                if settings
                else facts.measured_default(name)
            )
        except UserError as error:
            line |= {"error": str(error).rpartition(": ")[2]}
        else:
            gain = facts.gain(name, one)
            line |= {key: one.line[key] for key in KEPT}
            line |= dict(zip(("gain", "gain_low", "gain_high"), (round(v, 4) for v in gain), strict=True))
            line |= {key: one.line[key] for key in ("seconds_edit", "moved", "error")}
        lines.append(line)
        yield line


def on_others(facts: Facts, name: str, best: dict[Any, Any]) -> dict[str, float]:
    """The best settings on facts that chose nothing: their composite there, and how much it is above the default's."""
    one = facts.at(name, json.loads(best["settings"]))
    gain = dict(zip(("other_gain", "other_low", "other_high"), facts.gain(name, one), strict=True))
    about = {"other_efficacy": one.line["efficacy"], "other_composite": one.line["composite"]}
    return {key: round(value, 4) for key, value in (about | gain).items()}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@measuring
@click.option(
    "--skip", default=0, show_default=True, help="Known facts to leave out first, to choose a default on other facts."
)
@click.option("--whole", is_flag=True, help="Measure the placebo of every setting, to compare settings over models.")
@click.option("--most", default=1000, help="Try at most this many settings of each method.")
@click.option("--few", is_flag=True, help="Try only a few settings, for models that take minutes for each.")
def main(
    out: Path, ladder: str, rungs: str, methods: str, known: int, skip: int, whole: bool, most: int, few: bool
) -> None:
    """Measure about 30 settings of every method; only what OUT.csv lacks."""
    rows = rows_of(out)
    chosen = [one for one in methods.split(",") if one] or list(FEW if few else SEARCH)
    for rung, lm, statistics in opened(ladder, rungs):
        facts, others = Facts(lm, statistics, *known_cases(lm, known, skip)), None
        for name in chosen:
            own = [row for row in rows if (row["rung"], row["method"]) == (rung, name)]
            for line in searched(facts, name, own, few, whole, most):
                own.append({"rung": rung, "method": name} | line)
                rows.append(own[-1])
                write(out, rows)
                shown = {k: line.get(k) for k in ("efficacy", "composite", "gain", "error")}
                click.echo(f"{rung} {name} {line['settings']} {shown}")
            best = best_of(own)
            if best is None or not float(best["gain"]) > SLACK or best.get("other_composite") not in (None, ""):
                continue
            others = others or Facts(lm, statistics, *known_cases(lm, known, skip + known))
            best |= on_others(others, name, best)
            write(out, rows)
            click.echo(f"{rung} {name} best {best['settings']}: {best['other_gain']:+.2f} on other facts")


if __name__ == "__main__":
    main()
