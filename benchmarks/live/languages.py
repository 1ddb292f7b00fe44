"""Edits made in each of some languages, evaluated in the others, beside placebos: what crosses, and by spelling.

The cases are those of `world_facts:A-B-C`, with the edited language first, and of them those that the unedited model
knows. Only what makes up transfer is measured (the edited prompt, the fact in the other languages, siblings there), no
free text, so that a matrix of languages costs a few seconds per edit; `bench` asks everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.cases import Case, Probe, first_probes
from benchmarks.datasets import build_cases
from benchmarks.measure import Base, measure, measure_base, open_model, planned, probe_rows, statistics_of
from benchmarks.world import languages_of
from editing.delta import Delta
from editing.errors import BadRequest
from editing.files import canonical
from editing.lazy import pandas as pd
from editing.methods import make_method, placebo_for, taken_by
from editing.model import LanguageModel
from editing.stats import CORPUS

KINDS = ("efficacy", "cross_lingual", "neighbour")


@dataclass(frozen=True)
class Matrix:
    """Outcome of `run_languages`.

    Attributes:
        rows: one line per method, edited language and question, placebos too, with the columns of a run's rows that
            `valley.compare.transfer_table` reads.
        built, known: per edited language, how many facts there are and how many of them the model knew, which were
            edited. efficacy: per method and edited language, the share of edited prompts with the new answer, after the
            edit and after its placebo.
    """

    rows: pd.DataFrame
    model: str
    built: dict[str, int]
    known: dict[str, int]
    efficacy: pd.DataFrame


def run_languages(
    reference: str,
    langs: Sequence[str],
    methods: Sequence[str],
    settings: dict,
    limit: int,
    probes: int,
    seed: int,
    device: str | None,
    corpus: str,
    edited: Sequence[str] = (),
) -> Matrix:
    """Edit in each of `langs`, or of `edited` alone, and ask in the others.

    Args:
        limit: facts per edited language. probes: most questions of a kind and language.
        corpus: text of the key covariance; empty: the usual one.

    Raises:
        BadRequest: fewer than two languages, one that the world does not speak, no fact that the model knows.
    """
    if not languages_of("-".join(langs)):
        raise BadRequest(f"languages {','.join(langs):.40}: write two or more of en, fr, de, zh, such as en,zh")
    if not set(edited) <= set(langs):
        raise BadRequest(f"edited languages {','.join(edited):.40}: not all among {','.join(langs)}")
    lm = open_model(reference, device)
    statistics = statistics_of(lm, seed, corpus or CORPUS)
    built, known, records = {}, {}, []
    for lang in edited or langs:
        order = "-".join((lang, *(other for other in langs if other != lang)))
        cases = build_cases(f"world_facts:{order}", "fact", limit, seed)
        knows = measure_base(lm, [_asking(case, ("efficacy", "paraphrase"), 2) for case in cases], new_tokens=0).known
        built[lang], known[lang] = len(cases), sum(map(bool, knows))
        chosen = [_asking(case, KINDS, probes) for case, yes in zip(cases, knows, strict=True) if yes]
        if not chosen:
            continue
        base = measure_base(lm, chosen, new_tokens=0)
        for name in methods:
            method, control = make_method(name, **taken_by(name, settings)), placebo_for(name, settings)
            lm, _ = planned(lm, [method], [case.request for case in chosen])
            for one in (method, control):
                deltas = one.each(lm, [case.request for case in chosen], statistics)
                about = {"method": one.name, "control_of": name if one is control else ""}
                about["settings"] = canonical(one.settings())
                records += _records(lm, chosen, base, deltas, about)
    if not records:
        raise BadRequest(f"{reference} knows none of the facts in any of {', '.join(langs)}; raise --limit")
    rows = pd.DataFrame(records)
    return Matrix(rows, lm.source, built, known, _efficacy(rows))


def _efficacy(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns method, edit_lang, n, efficacy, placebo."""
    edited = rows[rows["probe"] == "efficacy"].assign(
        of=lambda t: t["control_of"].where(t["control_of"] != "", t["method"])
    )
    is_control = edited["control_of"] != ""
    keys = ["of", "edit_lang"]
    shares = [edited[part].groupby(keys, sort=False)["value"].mean() for part in (~is_control, is_control)]
    table = pd.DataFrame({"efficacy": shares[0], "placebo": shares[1]})
    table["n"] = edited[~is_control].groupby(keys, sort=False).size()
    return table.reset_index().rename(columns={"of": "method"})


def _asking(case: Case, kinds: Sequence[str], number: int) -> Case:
    """`case` with the first `number` probes of each of `kinds` and language; neighbours in the other languages only."""

    def most(p: Probe) -> int:
        return number if p.kind in kinds and not (p.kind == "neighbour" and p.lang == case.request.lang) else 0

    return replace(case, probes=first_probes(case.probes, most))


def _records(
    lm: LanguageModel, cases: Sequence[Case], base: Base, deltas: Sequence[Delta], about: dict[str, str]
) -> list[dict[str, Any]]:
    """A record per case and question, with the columns of a run's rows that `transfer_table` reads."""
    after = measure(lm, cases, base.priors, deltas, new_tokens=0)
    rung = {"ladder": lm.name, "rung": lm.name, "rung_index": 0, "edit_kind": "fact", "split": "", "known": True}
    out = []
    for case, answers, priors, now in zip(cases, base.answers, base.priors, after, strict=True):
        own = {"error": "", "dataset": case.dataset, "case": case.id, "subject": case.subject}
        own["edit_lang"] = case.request.lang
        out += [rung | about | own | row for row in probe_rows(case, answers, priors, now, {})]
    return out


def format_languages(outcome: Matrix) -> str:
    """What was edited and whether it took, for a terminal."""
    counts = ", ".join(f"{lang} {outcome.known[lang]} of {outcome.built[lang]}" for lang in outcome.built)
    lines = [f"{outcome.model}; facts known and edited: {counts}"]
    lines.append(f"{'method':<10}{'from':<6}{'n':>4}{'efficacy':>10}{'placebo':>9}")
    for row in outcome.efficacy.to_dict("records"):
        shares = f"{row['efficacy']:>10.2f}{row['placebo']:>9.2f}"
        lines.append(f"{row['method']:<10}{row['edit_lang']:<6}{row['n']:>4}{shares}")
    return "\n".join(lines)
