"""`python -m benchmarks.speed.methods.presets OUT.csv`: every method at its two presets.

OUT.csv has one line per model, method and settings, written as soon as it is measured. A second run measures only what
is missing. The first `--known` known facts of the world are edited, each alone, and evaluated on English questions:
efficacy (1 question), paraphrase (2), neighbour (3), same subject (2). Generalisation is paraphrase above placebo (the
same method and settings on an unrelated subject), specificity the mean of neighbour and same subject, and composite the
harmonic mean of the means of both, with Student's interval over cases. `benchmarks.speed.methods.search` measures other
settings, and `benchmarks.speed.methods.table` writes the page.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.cases import Case, first_probes
from benchmarks.datasets import read_cases
from benchmarks.ladders import load_ladder, present_rungs
from benchmarks.measure import Base, measure, measure_base, open_model, probe_rows, statistics_of
from editing.delta import Delta
from editing.errors import UserError
from editing.files import atomic_file
from editing.lazy import pandas as pd
from editing.methods import make_method, method_names
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from valley.rows import CONTROLS
from valley.statistics import harmonic, t_interval, weighted_means

QUESTIONS = {"efficacy": 1, "paraphrase": 2, "neighbour": 3, "same_subject": 2}
PRESETS = ({}, {"preset": "published"})


def in_english(case: Case) -> Case:
    """The case with the first English questions of each kind."""
    return replace(case, probes=first_probes(case.probes, lambda p: QUESTIONS.get(p.kind, 0) if p.lang == "en" else 0))


def known_cases(lm: LanguageModel, count: int, skip: int = 0) -> tuple[list[Case], Base]:
    """The first `count` cases behind the first `skip` whose fact the model knows, and its answers to them."""
    cases = [in_english(case) for case in read_cases("world_facts", "fact", 5 * (count + skip), 0).cases]
    known = measure_base(lm, cases, new_tokens=0).known
    chosen = [case for case, is_known in zip(cases, known, strict=True) if is_known][skip : skip + count]
    return chosen, measure_base(lm, chosen, new_tokens=0)


def scores(lm: LanguageModel, cases: Sequence[Case], base: Base, deltas: Sequence[Delta]) -> pd.DataFrame:
    """Cases x kinds of questions: mean value of each."""
    said = measure(lm, cases, base.priors, deltas, new_tokens=0)
    records = [
        {"case": i, "kind": row["probe"], "value": row["value"]}
        for i, case in enumerate(cases)
        for row in probe_rows(case, base.answers[i], base.priors[i], said[i], {})
    ]
    table = pd.DataFrame(records).groupby(["case", "kind"])["value"].mean().unstack()
    return table.reindex(columns=list(QUESTIONS))


@dataclass(frozen=True, eq=False)
class Outcome:
    """One line of the table, and of each case generalisation (above the placebo's; NaN where that was not measured)
    and specificity."""

    line: dict[str, Any]
    general: np.ndarray
    special: np.ndarray


def outcome(
    lm: LanguageModel,
    cases: Sequence[Case],
    base: Base,
    statistics: ModelStatistics,
    name: str,
    settings: dict,
    worth: Callable[[float, float], bool] = lambda efficacy, composite: True,
) -> Outcome:
    """What the method does to the cases at these settings.

    Args:
        worth: whether the placebo is to be measured, by efficacy and the composite were the placebo's paraphrase 0,
            which is the most that it can be.
    """
    requests = [case.request for case in cases]
    method = make_method(name, **settings)
    method.prepare(lm, requests, statistics)
    method.each(lm, requests[:1], statistics)  # it makes what `prepare` does not: prefixes, factors
    for again in (False, True):
        began = time.process_time()
        deltas = method.each(lm, requests, statistics)
        seconds = (time.process_time() - began) / len(cases)
        moved = sum("moved" in delta.provenance.get("inner", delta.provenance) for delta in deltas)
        if again or not moved:  # those that moved may have made the covariances of the other place
            break
    table = scores(lm, cases, base, deltas)
    said, special = table["paraphrase"].to_numpy(float), specificity(table).to_numpy(float)
    efficacy = float(table["efficacy"].mean())
    placebo = np.nan if name not in CONTROLS else 0.0
    if name not in CONTROLS and worth(efficacy, float(composites(np.nanmean(said), np.nanmean(special)))):
        # wrappers too: the same edit of an unrelated subject, by the same method
        control: Any = make_method("placebo")
        others = [control.unrelated(lm, request) for request in requests]
        method.prepare(lm, others, statistics)
        placebo = float(scores(lm, cases, base, method.each(lm, others, statistics))["paraphrase"].mean())
    general = (said - placebo) / (1 - placebo if placebo != 1 else 1)  # nothing is above a placebo of 1
    composite, low, high = composite_of(general, special)
    means = {kind: round(float(table[kind].mean()), 4) for kind in QUESTIONS}
    numbers = {
        "placebo": placebo, "generalisation": float(np.nanmean(general)) if placebo == placebo else np.nan,
        "specificity": float(np.nanmean(special)), "composite": composite, "low": low, "high": high,
    }  # fmt: skip
    line = {"n": len(cases), **means, **{key: round(value, 4) for key, value in numbers.items()}}
    return Outcome(line | {"seconds_edit": round(seconds, 3), "moved": moved, "error": ""}, general, special)


def specificity(table: pd.DataFrame) -> pd.Series:
    """Of each case of `scores`, the mean of neighbours and same subject."""
    return table[["neighbour", "same_subject"]].mean(axis=1)


ERASURES = ("ablate", "leace")  # they put no answer in place of the old one


def composites(general: Any, special: Any) -> np.ndarray:
    """The harmonic mean of both; 0 where generalisation is not above the placebo's."""
    return harmonic(np.maximum(general, 0), np.maximum(special, 0))


def composite_of(
    general: np.ndarray, special: np.ndarray, less: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[float, float, float]:
    """The composite of means over cases, and its 95% interval: cases resampled, Student's t over them.

    With `less`, generalisation and specificity of the same cases at other settings, how much it is above theirs.
    NaN where generalisation is NaN in all cases.
    """
    if np.isnan(general).all():
        return np.nan, np.nan, np.nan
    count = len(general)
    weights = np.vstack([np.full(count, 1 / count), np.random.default_rng(0).dirichlet(np.ones(count), 500)])

    def drawn(*both: np.ndarray) -> np.ndarray:
        return composites(*weighted_means(weights, np.column_stack(both)).T)

    samples = drawn(general, special) - (0.0 if less is None else drawn(*less))
    low, high = t_interval(samples[:1], samples[1:, None], count)
    bottom, top = (0.0, 1.0) if less is None else (-1.0, 1.0)
    return float(samples[0]), max(bottom, float(low[0])), min(top, float(high[0]))


def measured_methods() -> list[str]:
    """Every method but controls and those that put no answer in place of the old one."""
    return [name for name in method_names() if name not in (*CONTROLS, *ERASURES)]


def opened(ladder: str, rungs: str) -> Iterator[tuple[str, LanguageModel, ModelStatistics]]:
    """Name, model and statistics of the present rungs of a ladder, one after another; `rungs` names some of them."""
    for rung in present_rungs(load_ladder(ladder))[0]:
        if not rungs or rung.name in rungs.split(","):
            lm = open_model(rung.model, None)
            yield rung.name, lm, statistics_of(lm, 0, quiet=True)


def rows_of(out: Path) -> list[dict[Any, Any]]:
    """The lines of a table that may not be there yet."""
    return pd.read_csv(out, keep_default_na=False).to_dict("records") if out.exists() else []


def write(out: Path, rows: Sequence[dict[Any, Any]]) -> None:
    with atomic_file(out) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def measuring(command: Callable) -> Callable:
    """The arguments that all commands that measure methods have: the table, the models, the methods, the facts."""
    parameters = (
        click.argument("out", type=click.Path(path_type=Path)),
        click.option("--ladder", default="demo", show_default=True, help="Ladder of models to measure."),
        click.option("--rungs", default="", help="Only these rungs, comma-separated."),
        click.option("--methods", default="", help="Only these methods, comma-separated.  [default: all]"),
        click.option("--known", default=12, show_default=True, help="Number of known facts per model."),
    )
    for parameter in reversed(parameters):
        command = parameter(command)
    return command


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@measuring
@click.option(
    "--default-only", is_flag=True, help="Measure only the default of each method, not its published settings."
)
def main(out: Path, ladder: str, rungs: str, methods: str, known: int, default_only: bool) -> None:
    """Measure every method at its default and its published settings; only what OUT.csv lacks."""
    rows = rows_of(out)
    done = {(row["rung"], row["method"], row["settings"]) for row in rows}
    chosen = [one for one in methods.split(",") if one] or measured_methods()
    for rung, lm, statistics in opened(ladder, rungs):
        cases, base = known_cases(lm, known)
        for name in chosen:
            for settings in PRESETS[:1] if default_only else PRESETS:
                key = {"rung": rung, "method": name, "settings": json.dumps(settings)}
                if tuple(key.values()) in done:
                    continue
                try:
                    about = outcome(lm, cases, base, statistics, name, settings).line
                except UserError as error:
                    about = {"n": len(cases), "error": str(error)}
                rows.append(key | about)
                write(out, rows)
                shown = {k: about.get(k) for k in ("efficacy", "composite", "seconds_edit", "error")}
                click.echo(f"{rung} {name} {json.dumps(settings)} {shown}")


if __name__ == "__main__":
    main()
