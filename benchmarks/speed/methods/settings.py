"""`python -m benchmarks.speed.methods.settings OUT.csv`: every method at its two presets and at searched settings.

One line of OUT.csv per model, method and settings, written as soon as it is measured; run again, it measures what is
missing. A model edits its first `--known` known facts of the world, each by itself, and answers English questions about
each: efficacy (1), paraphrase (2), neighbour (3), same subject (2). Generalisation is paraphrase above the placebo's
(the same method and settings on an unrelated subject), specificity the mean of neighbour and same subject, composite
their harmonic mean per case, with Student's interval over cases. `python -m benchmarks.speed.methods.table OUT.csv`
writes the page from it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from benchmarks.cases import Case, first_probes
from benchmarks.datasets import read_cases
from benchmarks.ladders import load_ladder, present_rungs
from benchmarks.measure import Base, measure, measure_base, open_model, probe_rows, statistics_of
from editing.delta import Delta
from editing.errors import UserError
from editing.files import atomic_file
from editing.methods import make_method, method_names, placebo_for
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from valley.rows import CONTROLS
from valley.statistics import t_interval

QUESTIONS = {"efficacy": 1, "paraphrase": 2, "neighbour": 3, "same_subject": 2}
PRESETS = ({}, {"preset": "published"})
# What a search tries of each method, besides its presets. Depths are of whole models, so that all sizes are searched.
PLACES = {"lookup": ["subject_last", "last"], "depth": [0.0, 0.5, 0.9]}
SEARCH: dict[str, dict[str, list]] = {
    "rome": PLACES, "r_rome": PLACES, "memit": PLACES, "alphaedit": PLACES, "emmet": PLACES, "pmet": PLACES,
    "ultraedit": {"rate": [0.1, 0.2, 0.5], "depth": [0.5, 0.95]},
    "ft_m": {"lr": [0.005, 0.01, 0.04], "depth": [0.3, 0.9]},
    "ft_l": {"lr": [0.02, 0.1], "bound": [0.1, 0.5]},
    "loc_ft": {"lr": [0.005, 0.01, 0.04], "depth": [0.3, 0.65]},
    "lora": {"lr": [0.0005, 0.001, 0.005], "site": ["value", "mlp"]},
    "grace": {"radius": [0.1, 0.6], "depth": [0.3, 0.9]},
    "steer": {"clamp": [0.3, 2.0], "depth": [0.3, 0.9]},
    "embedding": {"clamp": [0.5, 1.0, 4.0]},
}  # fmt: skip


def searched(method: str) -> Iterator[dict]:
    """The presets of a method, then the product of what is searched."""
    yield from PRESETS
    axes = SEARCH.get(method, {})
    if axes:
        yield from (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def asked(case: Case) -> Case:
    """The case with the first English questions of each kind."""
    return replace(case, probes=first_probes(case.probes, lambda p: QUESTIONS.get(p.kind, 0) if p.lang == "en" else 0))


def known_cases(lm: LanguageModel, count: int) -> tuple[list[Case], Base]:
    """The first `count` cases whose fact the model knows, and its answers to them."""
    cases = [asked(case) for case in read_cases("world_facts", "fact", 5 * count, 0).cases]
    known = measure_base(lm, cases, new_tokens=0).known
    chosen = [case for case, is_known in zip(cases, known, strict=True) if is_known][:count]
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


def line(
    lm: LanguageModel, cases: Sequence[Case], base: Base, statistics: ModelStatistics, name: str, settings: dict
) -> dict[str, object]:
    """One line of the table."""
    requests = [case.request for case in cases]
    method = make_method(name, **settings)
    method.prepare(lm, requests, statistics)
    began = time.process_time()
    deltas = method.each(lm, requests, statistics)
    seconds = (time.process_time() - began) / len(cases)
    table = scores(lm, cases, base, deltas)
    placebo = 0.0
    if name not in (*CONTROLS, *WRAPPING):
        control = placebo_for(name, settings)
        placebo = float(scores(lm, cases, base, control.each(lm, requests, statistics))["paraphrase"].mean())
    general = (table["paraphrase"] - placebo) / max(1 - placebo, 1e-9)
    special = specificity(table)
    composite = harmonic(general.mean(), special.mean())
    low, high = _interval(general.to_numpy(), special.to_numpy())
    means = {kind: round(float(table[kind].mean()), 4) for kind in QUESTIONS}
    moved = sum("moved" in delta.provenance for delta in deltas)
    return {
        "n": len(cases), **means, "placebo": round(placebo, 4), "generalisation": round(float(general.mean()), 4),
        "specificity": round(float(special.mean()), 4), "composite": round(composite, 4), "low": round(low, 4),
        "high": round(high, 4), "seconds_edit": round(seconds, 3), "moved": moved, "error": "",
    }  # fmt: skip


def specificity(table: pd.DataFrame) -> pd.Series:
    """Of each case of `scores`, the mean of neighbours and same subject."""
    return table[["neighbour", "same_subject"]].mean(axis=1)


ERASURES = ("ablate", "leace")  # they put no answer in place of the old one
WRAPPING = ("sphere", "norm_anchor", "rect")  # a placebo wraps no wrapper: theirs is the inner method's


def harmonic(general: float, special: float) -> float:
    """The harmonic mean; 0 where generalisation is not above the placebo's."""
    return 2 * general * special / (general + special) if general > 0 and special > 0 else 0.0


def _interval(general: np.ndarray, special: np.ndarray) -> tuple[float, float]:
    """95% interval of the composite of means, by resampling cases and Student's t over them."""
    draw = np.random.default_rng(0)
    weights = draw.dirichlet(np.ones(len(general)), 500)
    g, s = np.nan_to_num(weights @ np.nan_to_num(general)), weights @ np.nan_to_num(special)
    samples = np.array([harmonic(a, b) for a, b in zip(g, s, strict=True)])
    centre = np.array([harmonic(float(np.nanmean(general)), float(np.nanmean(special)))])
    low, high = t_interval(centre, samples[:, None], len(general))
    return max(0.0, float(low[0])), min(1.0, float(high[0]))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--ladder", default="demo", show_default=True, help="Ladder of models.")
@click.option("--rungs", default="", help="Only these rungs, comma-separated.")
@click.option("--methods", default="", help="Only these methods, comma-separated.  [default: all]")
@click.option("--known", default=12, show_default=True, help="Known facts of each model.")
@click.option("--presets-only", is_flag=True, help="Only the two presets of each method, no search.")
@click.option("--default-only", is_flag=True, help="Only the default of each method.")
def main(out: Path, ladder: str, rungs: str, methods: str, known: int, presets_only: bool, default_only: bool) -> None:
    """Measure what OUT.csv lacks."""
    rows: list[dict[Any, Any]] = pd.read_csv(out, keep_default_na=False).to_dict("records") if out.exists() else []
    done = {(row["rung"], row["method"], row["settings"]) for row in rows}
    every = [name for name in method_names() if name not in (*CONTROLS, *ERASURES)]
    chosen = [one for one in methods.split(",") if one] or every
    for rung in present_rungs(load_ladder(ladder))[0]:
        if rungs and rung.name not in rungs.split(","):
            continue
        lm = open_model(rung.model, None)
        statistics = statistics_of(lm, 0, quiet=True)
        cases, base = known_cases(lm, known)
        for name in chosen:
            tried = [{}] if default_only else PRESETS if presets_only else searched(name)
            for settings in tried:
                key = {"rung": rung.name, "method": name, "settings": json.dumps(settings)}
                if tuple(key.values()) in done:
                    continue
                try:
                    about = line(lm, cases, base, statistics, name, settings)
                except UserError as error:
                    about = {"n": len(cases), "error": str(error)}
                rows.append(key | about)
                with atomic_file(out) as temporary:
                    pd.DataFrame(rows).to_csv(temporary, index=False)
                shown = {k: about.get(k) for k in ("efficacy", "composite", "seconds_edit", "error")}
                click.echo(f"{rung.name} {name} {json.dumps(settings)} {shown}")


if __name__ == "__main__":
    main()
