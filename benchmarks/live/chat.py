"""Edits in plain text and in chat form, each evaluated both ways: what of an edit survives in the other form.

Beside each edit stands its placebo: the same edit by the same method on an unrelated subject, made in the same form.
Per method, form of the edit and form of the questions, over the facts that the unedited model knows in plain text:

    above placebo  = (A - P) / (1 - P), at least 0, for the kinds whose answer should change
    specificity    = mean of neighbour and same_subject, where the model was right before, in the edit's language
    composite      = harmonic mean of paraphrase above placebo and specificity; 0 with efficacy above placebo below .5
    survives       = efficacy, or paraphrase, above placebo in the other form / the same in the form of the edit

Intervals are 95%: the cases are drawn again, edit and placebo of a case together, and counted are those that have the
score. Where all of them are the same, the interval is what so many equal cases allow; a share that survives, which may
be above 1, has none then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.cases import Case, Probe, first_probes
from benchmarks.chat import ChatForm, chat_form
from benchmarks.datasets import build_cases
from benchmarks.measure import Base, measure, measure_base, open_model, planned, probe_rows, statistics_of
from editing.delta import Delta
from editing.errors import BadModel, BadRequest
from editing.lazy import pandas as pd
from editing.methods import make_method, placebo_for, taken_by
from editing.model import LanguageModel
from valley.rows import GATES
from valley.statistics import t_interval, unit_weights, weighted_means, within_range

CHANGED, KEPT = ("efficacy", "paraphrase", "cross_lingual"), ("neighbour", "same_subject")
SURVIVING = ("efficacy", "paraphrase")
PROBES = 2  # of a kind and language
FORMS = ("plain", "chat")
DRAWS = 1000
LEAST = 0.1  # efficacy above placebo in the form of the edit; of less, no share survives


@dataclass(frozen=True)
class Survival:
    """Outcome of `run_chat`.

    Attributes:
        rows: one line per method, form of the edit, form of the question and score: value, low, high (95%), n cases.
            Scores: each kind as it is; `placebo KIND`, `net KIND` (above placebo), specificity, composite; `survives
            KIND` in the lines of the other form.
        model: what the reference resolved to. form: the chat form.
        known: cases that the unedited model knew in plain text, all of which were edited. known_in_chat: those of them
            that it knew in chat form too. built: all cases.
    """

    rows: pd.DataFrame
    model: str
    form: ChatForm
    known: int
    known_in_chat: int
    built: int


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
        BadModel: the model has no chat template. BadRequest: it knows fewer than two of the facts.
    """
    lm = open_model(reference, device)
    form = chat_form(lm, chat)
    if form is None:
        raise BadModel(f"{reference}: no chat template; give one with --chat FILE")
    every = [_some(case) for case in build_cases(dataset, "fact", limit, seed)]
    knows = measure_base(lm, every, new_tokens=0).known
    plain = [case for case, known in zip(every, knows, strict=True) if known]
    if len(plain) < 2:
        raise BadRequest(f"{reference} knows {len(plain)} of {len(every)} facts of {dataset}; raise --limit")
    cases_by_form = {"plain": plain, "chat": [form.case(case) for case in plain]}
    bases = {name: measure_base(lm, cases, new_tokens=0) for name, cases in cases_by_form.items()}
    lines = []
    for name in methods:
        method, control = make_method(name, **taken_by(name, settings)), placebo_for(name, settings)
        lm, _ = planned(lm, [method], [case.request for case in plain])
        statistics = statistics_of(lm, seed)
        others = [control.unrelated(lm, case.request) for case in plain]
        for edit_form in FORMS:
            requests = [case.request for case in cases_by_form[edit_form]]
            control_requests = others if edit_form == "plain" else [form.request(one) for one in others]
            edits = method.each(lm, requests, statistics)
            placebos = method.each(lm, control_requests, statistics)
            scores = {}
            for question_form in FORMS:
                work = lm, cases_by_form[question_form], bases[question_form]
                scores[question_form] = _scores(*work, edits), _scores(*work, placebos)
            lines += [{"method": name, "edit": edit_form} | line for line in summary(scores, edit_form, seed)]
    known_in_chat = sum(map(bool, bases["chat"].known))
    return Survival(pd.DataFrame(lines), lm.source, form, len(plain), known_in_chat, len(every))


def _some(case: Case) -> Case:
    """The first PROBES of each kind and language; what should stay in the language of the edit only."""

    def most(p: Probe) -> int:
        return PROBES if p.kind in CHANGED or (p.kind in KEPT and p.lang == case.request.lang) else 0

    return replace(case, probes=first_probes(case.probes, most))


def _scores(lm: LanguageModel, cases: Sequence[Case], base: Base, deltas: Sequence[Delta]) -> pd.DataFrame:
    """Per case and kind, the mean of the values that could be measured: (n cases, kinds), NaN where there is none."""
    after = measure(lm, cases, base.priors, deltas, new_tokens=0)
    means = [case_means(probe_rows(*part, {})) for part in zip(cases, base.answers, base.priors, after, strict=True)]
    return pd.DataFrame(means).reindex(columns=[*CHANGED, *KEPT]).astype(float)


def case_means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Kind -> mean value of one case."""
    table = pd.DataFrame(rows)
    return {str(kind): float(mean) for kind, mean in table.groupby("probe")["value"].mean().items()}


def summary(scores: dict[str, tuple[pd.DataFrame, pd.DataFrame]], edit_form: str, seed: int) -> list[dict[str, Any]]:
    """The lines of one method and form of the edit.

    Args:
        scores: form of the questions -> (edits, placebos), each (n cases, kinds).
    """
    n = len(scores[edit_form][0])
    weights = np.vstack([np.ones(n), unit_weights(n, DRAWS, np.random.default_rng(seed))])  # first: the estimate itself
    values = {name: _score_samples(weights, *pair) for name, pair in scores.items()}
    cases = {name: _cases(*pair) for name, pair in scores.items()}
    lines = []
    for question_form, samples in values.items():
        if question_form != edit_form:
            for kind in SURVIVING:
                own = values[edit_form][f"net {kind}"]
                share = np.where(own >= LEAST, samples[f"net {kind}"] / np.maximum(own, LEAST), np.nan)
                samples[f"survives {kind}"] = share if own[0] >= LEAST else np.full_like(share, np.nan)
                counted = [cases[name][f"net {kind}"] for name in (edit_form, question_form)]
                cases[question_form][f"survives {kind}"] = min(counted)
        for score, drawn in samples.items():
            count = cases[question_form][score]
            most = np.inf if score.startswith("survives") else 1.0
            ends = t_interval(drawn[:1], drawn[1:, None], count)
            (low,), (high,) = within_range(drawn[:1], *ends, count, 0.0, most)
            line = {"value": float(drawn[0]), "low": float(low), "high": float(high), "n": count}
            lines.append({"evaluated": question_form, "score": score, **line})
    return lines


def _cases(edits: pd.DataFrame, placebos: pd.DataFrame) -> dict[str, int]:
    """Score -> the number of cases that have it."""
    there, control = edits.notna(), placebos.notna()
    have: dict[str, pd.Series] = {kind: there[kind] for kind in (*CHANGED, *KEPT)}
    have |= {f"placebo {kind}": control[kind] for kind in CHANGED}
    have |= {f"net {kind}": there[kind] & control[kind] for kind in CHANGED}
    have["specificity"] = there[list(KEPT)].any(axis=1)
    counts = {score: int(which.sum()) for score, which in have.items()}
    return counts | {"composite": min(counts[score] for score in ("net efficacy", "net paraphrase", "specificity"))}


def _score_samples(weights: np.ndarray, edits: pd.DataFrame, placebos: pd.DataFrame) -> dict[str, np.ndarray]:
    """Score -> its value under each row of `weights` (draws, n)."""
    edit_means, control_means = (weighted_means(weights, table.to_numpy(float)) for table in (edits, placebos))
    out: dict[str, np.ndarray] = {}
    for i, kind in enumerate(edits.columns):
        out[kind] = edit_means[:, i]
        if kind in CHANGED:
            control = control_means[:, i]
            out[f"placebo {kind}"] = control
            out[f"net {kind}"] = np.maximum(0.0, (out[kind] - control) / np.maximum(1 - control, 1e-9))
    with np.errstate(invalid="ignore"):
        specificity = np.nanmean(np.stack([out[kind] for kind in KEPT]), axis=0)
        gained = out["net paraphrase"]
        both = 2 * gained * specificity / np.maximum(gained + specificity, 1e-9)
    out["specificity"] = specificity
    gate = np.where(np.isnan(out["net efficacy"]), np.nan, 0.0)
    out["composite"] = np.where(out["net efficacy"] >= GATES["efficacy"], both, gate)
    return out


def format_chat(outcome: Survival) -> str:
    """The table for a terminal."""
    columns = {
        "net efficacy": "efficacy", "net paraphrase": "paraphrase", "net cross_lingual": "cross-lingual",
        "specificity": "specificity", "composite": "composite", "survives efficacy": "survives",
    }  # fmt: skip
    table, out = outcome.rows, [f"{outcome.model}; chat form: {outcome.form.text('PROMPT')!r}"]
    out.append(
        f"{'method':<10}{'edit in':<9}{'evaluated in':<14}" + "".join(f"{title:>19}" for title in columns.values())
    )
    for (method, edit_form, question_form), part in table.groupby(["method", "edit", "evaluated"], sort=False):
        cells = {row["score"]: _cell(row["value"], row["low"], row["high"]) for row in part.to_dict("records")}
        line = "".join(f"{cells.get(score, ''):>19}" for score in columns)
        out.append(f"{method:<10}{edit_form:<9}{question_form:<14}{line}")
    out += [
        f"{outcome.built} facts; {outcome.known} known in plain text and edited; {outcome.known_in_chat} in chat too",
        "efficacy, paraphrase, cross-lingual: above the placebo of the same method and form; specificity: neighbours",
        "and same subject kept where known before; composite: harmonic mean of paraphrase and specificity, 0 where",
        f"efficacy is below {GATES['efficacy']:g}; survives: efficacy in the other form / in the form of the edit;",
        "95% intervals, cases drawn again",
    ]
    return "\n".join(out)


def _cell(value: float, low: float, high: float) -> str:
    bounds = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    return "n/a" if np.isnan(value) else f"{value:.2f}{bounds}"
