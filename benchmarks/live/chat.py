"""Edits in plain text and in chat form, each asked both ways: what of an edit survives in the other form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.cases import Case
from benchmarks.chat import ChatForm, chat_form
from benchmarks.datasets import build_cases
from benchmarks.measure import measure, measure_base, open_model, planned, probe_rows, statistics_of
from editing.errors import BadModel
from editing.methods import make_method, taken_by
from valley.statistics import t_interval, unit_weights, weighted_means

KINDS = ("efficacy", "paraphrase", "cross_lingual", "neighbour")
PROBES = 2  # of a kind and language
FORMS = ("plain", "chat")
DRAWS = 1000


@dataclass(frozen=True)
class Survival:
    """Outcome of `run_chat`.

    Attributes:
        rows: one line per method, form of the edit, form of the question and kind: value, low, high (95%, cases drawn
            again), n cases.
        model: what the reference resolved to. form: the chat form.
    """

    rows: pd.DataFrame
    model: str
    form: ChatForm


def run_chat(
    reference: str,
    chat: str,
    methods: Sequence[str],
    settings: dict,
    dataset: str,
    limit: int,
    seed: int,
    device: str | None,
) -> Survival:
    """Edit in both forms, ask in both.

    Raises:
        BadModel: the model has no chat template.
    """
    lm = open_model(reference, device)
    form = chat_form(lm, chat)
    if form is None:
        raise BadModel(f"{reference}: no chat template; give one with --chat FILE")
    plain = [_some(case) for case in build_cases(dataset, "fact", limit, seed)]
    cases_by_form = {"plain": plain, "chat": [form.case(case) for case in plain]}
    bases = {name: measure_base(lm, cases, new_tokens=0) for name, cases in cases_by_form.items()}
    lines = []
    for name in methods:
        method = make_method(name, **taken_by(name, settings))
        lm, _ = planned(lm, [method], [case.request for case in plain])
        statistics = statistics_of(lm, seed)
        for made in FORMS:
            deltas = method.each(lm, [case.request for case in cases_by_form[made]], statistics)
            for form_asked in FORMS:
                cases, base = cases_by_form[form_asked], bases[form_asked]
                after = measure(lm, cases, base.priors, deltas, new_tokens=0)
                parts = zip(cases, base.answers, base.priors, after, strict=True)
                scores = [_means(probe_rows(*part, {})) for part in parts]
                lines += [{"method": name, "edit": made, "asked": form_asked} | one for one in _summary(scores, seed)]
    return Survival(pd.DataFrame(lines), lm.source, form)


def _some(case: Case) -> Case:
    """The first PROBES of KINDS of each language."""
    count: dict[tuple[str, str], int] = {}
    kept = []
    for p in case.probes:
        key = (p.kind, p.lang)
        count[key] = count.get(key, 0) + 1
        if p.kind in KINDS and count[key] <= PROBES:
            kept.append(p)
    return replace(case, probes=tuple(kept))


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Per kind, the mean of the values that could be measured."""
    table = pd.DataFrame(rows)
    return {str(kind): float(mean) for kind, mean in table.groupby("probe")["value"].mean().items()}


def _summary(scores: Sequence[dict[str, float]], seed: int) -> list[dict[str, Any]]:
    table = pd.DataFrame(list(scores)).reindex(columns=list(KINDS))
    weights = unit_weights(len(table), DRAWS, np.random.default_rng(seed))
    lines = []
    for kind in KINDS:
        values = table[kind].to_numpy(float)[:, None]
        centre, samples = np.nanmean(values, axis=0), weighted_means(weights, values)
        low, high = t_interval(centre, samples, len(table))
        n = int(np.isfinite(values).sum())
        lines.append(
            {
                "kind": kind,
                "value": float(centre[0]),
                "low": max(0.0, float(low[0])),
                "high": min(1.0, float(high[0])),
                "n": n,
            }
        )
    return lines


def format_chat(outcome: Survival) -> str:
    """The table for a terminal."""
    table, out = outcome.rows, [f"{outcome.model}; chat form: {outcome.form.text('PROMPT')!r}"]
    out.append(f"{'method':<12}{'edit made in':<14}{'asked in':<10}" + "".join(f"{kind:>22}" for kind in KINDS))
    for (method, made, form_asked), part in table.groupby(["method", "edit", "asked"], sort=False):
        cells = {row.kind: f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in part.itertuples()}
        out.append(f"{method:<12}{made:<14}{form_asked:<10}" + "".join(f"{cells[kind]:>22}" for kind in KINDS))
    out.append(
        f"mean over {int(table['n'].max())} cases, 95% interval (cases drawn again); neighbours where known before"
    )
    return "\n".join(out)
