"""Whether faster edits are as good: the same known facts edited exactly and fast, their scores paired.

Scores are CounterFact's ES, PS, NS (`valley.rows.schema.preferred`, at the edited prompt, its paraphrases, its
neighbours) and the candidate scores of this project (benchmarks/measure/answers.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.cases import Case
from benchmarks.datasets import with_common_probes
from benchmarks.measure import Base, measure, measure_base, measure_drift, own_wordings, probe_rows
from benchmarks.speed.stages import EDITS, facts
from editing.delta import Delta
from editing.errors import BadRequest
from editing.lazy import pandas as pd
from editing.methods import make_method
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from valley.rows import preferred

COUNTERFACT = {"efficacy": "ES", "paraphrase": "PS", "neighbour": "NS"}
PROBES_A_KIND = 3
DRAWS = 2000


@dataclass(frozen=True)
class Quality:
    """One score of one variant beside the exact edits; mean over facts, and the interval of the paired difference."""

    variant: str
    score: str
    facts: int
    exact: float
    value: float
    difference: float
    low: float
    high: float


def compare_quality(
    lm: LanguageModel, statistics: ModelStatistics, number: int, variants: dict[str, dict] | None = None
) -> Iterator[Quality]:
    """Every variant of ROME against the first one, on the first `number` facts that the model knows.

    Raises:
        BadRequest: the model knows fewer facts than requested.
    """
    variants = EDITS if variants is None else variants
    cases, base = known_cases(lm, number)
    requests = [c.request for c in cases]
    scores = {
        name: scores_of(lm, cases, base, make_method("rome", **settings).each(lm, requests, statistics))
        for name, settings in variants.items()
    }
    exact = next(iter(variants))
    draw = np.random.default_rng(0)
    for name in list(variants)[1:]:
        for score in scores[exact].columns:
            pair = pd.concat([scores[exact][score], scores[name][score]], axis=1).dropna().to_numpy()
            difference = pair[:, 1] - pair[:, 0]
            means = difference[draw.integers(len(pair), size=(DRAWS, len(pair)))].mean(1)
            low, high = np.quantile(means, [0.025, 0.975])
            yield Quality(
                name, str(score), len(pair), *(float(x) for x in (*pair.mean(0), difference.mean(), low, high))
            )


def known_cases(lm: LanguageModel, number: int) -> tuple[list[Case], Base]:
    """The first `number` facts that the model knows, with their probes, and what it says unedited."""
    cases: list[Case] = []
    candidates = facts(4 * number)
    for begin in range(0, len(candidates), number):
        some = list(with_common_probes(candidates[begin : begin + number], PROBES_A_KIND))
        base = measure_base(lm, [own_wordings(case) for case in some], new_tokens=0)
        cases += [case for case, known in zip(some, base.known, strict=True) if known]
        if len(cases) >= number:
            cases = cases[:number]
            return cases, measure_base(lm, cases)
    raise BadRequest(
        f"{lm.name} knows {len(cases)} of {len(candidates)} facts, {number} were requested; lower --quality"
    )


def scores_of(lm: LanguageModel, cases: Sequence[Case], base: Base, deltas: Sequence[Delta]) -> pd.DataFrame:
    """One row per case, one column per score: means over the case's probes, NaN where there is none."""
    after = measure(lm, cases, base.priors, deltas, new_tokens=base.new_tokens)
    drift = measure_drift(lm, cases, deltas)
    rows = []
    for case, before, prior, now, moved in zip(cases, base.answers, base.priors, after, drift, strict=True):
        rows += [{"case": case.id} | row for row in probe_rows(case, before, prior, now, moved)]
    table = pd.DataFrame(rows).assign(score=lambda t: t.probe + " " + t.lang)
    ours = table.pivot_table(index="case", columns="score", values="value", aggfunc="mean")
    home = pd.Series({case.id: case.request.lang for case in cases})
    theirs = table[table["probe"].isin(COUNTERFACT) & (table["lang"] == table["case"].map(home))]
    theirs = theirs.assign(score=theirs["probe"].map(COUNTERFACT), value=preferred(theirs))
    return ours.join(theirs.pivot_table(index="case", columns="score", values="value", aggfunc="mean"))
