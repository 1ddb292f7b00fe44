"""`python -m benchmarks.speed.methods.layers --model REF`: does the chosen layer beat a random one (H5)?

One method edits known facts of one model at every layer (or every `--every`-th) and lookup position; the questions are
those of `benchmarks.speed.methods.presets`. Each half of the facts in turn chooses the best place, and the best lookup
at each layer; the other half gives the scores. The effect is the composite at the chosen place minus the mean over all
layers, each at its best lookup, which is what a layer drawn at random gives on average. The interval resamples facts,
with Student's t over them, and keeps the chosen places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from benchmarks.cases import Case
from benchmarks.measure import measure_base, open_model, statistics_of
from benchmarks.speed.methods.presets import composites, known_cases, scores, specificity
from editing.errors import Unreachable
from editing.lazy import pandas as pd
from editing.methods import make_method, taken_by
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from valley.statistics import t_interval

DRAWS = 200
Place = tuple[int, str]  # layer, lookup
Scores = tuple[np.ndarray, np.ndarray]  # paraphrase and specificity of each case


@dataclass(frozen=True)
class Effect:
    """Composites at the chosen place and at a layer drawn at random, their difference with its 95% interval, and the
    chosen place of each half."""

    chosen: float
    random: float
    effect: float
    low: float
    high: float
    places: tuple[Place, ...]


def per_case(table: pd.DataFrame) -> Scores:
    """Generalisation and specificity of each case, 0 where nothing could be evaluated."""
    return np.nan_to_num(table["paraphrase"].to_numpy(float)), np.nan_to_num(specificity(table).to_numpy(float))


def composite(scored: Scores, weights: np.ndarray) -> float:
    """The harmonic mean of paraphrase and specificity, over cases weighted by `weights` (sum 1)."""
    return float(composites(weights @ scored[0], weights @ scored[1]))


def effect_of(tables: dict[Place, Scores]) -> Effect:
    """`tables`: scores per case at each place, the same cases in the same order."""
    count = len(next(iter(tables.values()))[0])
    layers = sorted({layer for layer, _ in tables})
    halves = [np.arange(count) % 2 == side for side in (0, 1)]
    chosen = []
    for half in halves:
        weights = half / half.sum()
        value = {place: composite(table, weights) for place, table in tables.items()}
        of_layer = {n: max((p for p in tables if p[0] == n), key=lambda p, value=value: value[p]) for n in layers}
        chosen.append((max(tables, key=lambda place, value=value: value[place]), of_layer))

    def pair(weights: np.ndarray) -> tuple[float, float]:
        """Composite at the chosen place and mean over layers, each half judged at the other's choice."""
        here, anywhere = [], []
        for half, (best, of_layer) in zip(halves[::-1], chosen, strict=True):
            share = weights * half / max(float((weights * half).sum()), 1e-12)
            here.append(composite(tables[best], share))
            anywhere.append(float(np.mean([composite(tables[place], share) for place in of_layer.values()])))
        return float(np.mean(here)), float(np.mean(anywhere))

    at, drawn = pair(np.full(count, 1 / count))
    samples = [pair(w) for w in np.random.default_rng(0).dirichlet(np.ones(count), DRAWS)]
    differences = np.array([a - b for a, b in samples])
    low, high = t_interval(np.array([at - drawn]), differences[:, None], count)
    return Effect(at, drawn, at - drawn, float(low[0]), float(high[0]), tuple(best for best, _ in chosen))


def at_every_place(
    lm: LanguageModel,
    cases: Sequence[Case],
    statistics: ModelStatistics,
    method: str,
    every: int,
    lookups: Sequence[str],
    contexts: int,
) -> Iterator[tuple[Place, pd.DataFrame | None]]:
    """Every place with the scores of the edits made there, by case; None where no answer depends on the place, as
    behind the last block at the subject's token."""
    base = measure_base(lm, cases, new_tokens=0)
    for layer in range(every // 2, lm.n_layers, every):
        for lookup in lookups:
            given: dict[str, Any] = {"depth": (layer + 0.5) / lm.n_layers, "lookup": lookup}
            given |= taken_by(method, {"contexts_per_step": contexts})
            try:
                deltas = make_method(method, **given).each(lm, [case.request for case in cases], statistics)
            except Unreachable:
                yield (layer, lookup), None
            else:
                yield (layer, lookup), scores(lm, cases, base, deltas)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", required=True, help="Model reference.")
@click.option("--method", default="rome", show_default=True, help="A method that edits one layer.")
@click.option("--known", default=24, show_default=True, help="Number of known facts.")
@click.option("--every", default=1, show_default=True, help="Try every N-th layer.")
@click.option(
    "--lookups", default="subject_last,last", show_default=True, help="Lookup positions to try, comma-separated."
)
@click.option("--contexts", default=0, show_default=True, help="Contexts per optimiser step; 0: all.")
def main(model: str, method: str, known: int, every: int, lookups: str, contexts: int) -> None:
    """Print the composite at every layer and lookup, and how far the chosen layer is above a random one."""
    lm = open_model(model, None)
    statistics = statistics_of(lm, 0, quiet=True)
    cases, _ = known_cases(lm, known)
    tables: dict[Place, Scores] = {}
    for place, table in at_every_place(lm, cases, statistics, method, every, lookups.split(","), contexts):
        if table is None:
            click.echo(f"layer {place[0]} {place[1]}: no answer depends on it")
            continue
        tables[place] = per_case(table)
        whole = composite(tables[place], np.full(len(cases), 1 / len(cases)))
        click.echo(f"layer {place[0]} {place[1]}: composite {whole:.2f}, efficacy {table['efficacy'].mean():.2f}")
    one = effect_of(tables)
    click.echo(
        f"{len(cases)} facts: chosen {one.chosen:.2f} ({one.places}), random layer {one.random:.2f}, "
        f"effect {one.effect:.2f} [{one.low:.2f}, {one.high:.2f}]"
    )


if __name__ == "__main__":
    main()
