"""The field's scores, per setting: CounterFact's, EasyEdit's, and ours beside them, with 95% intervals.

rows = valley.rows.schema.read_run("results/demo")
print(valley.text.published.format_scores(valley.scores.published.counterfact_scores(rows)))

A probe gives a number, a case the mean of its probes, a setting the mean of its cases, as in the published code. No
setting is chosen here, so dev and test cases both count. The published scores ask in one language, so only probes in
the language of the edit do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from valley.rows import (
    CONTROLS,
    NET,
    PLACEBO,
    PROBE_KINDS,
    RUNG,
    SETTING,
    RowsError,
    kind_order,
    preferred,
    probability_margin,
    weights_of,
)
from valley.scores.cases import NEEDED, UNIT, case_scores, coded, edit_languages
from valley.scores.composites import CASE_COLUMNS, PRIMARY, Composite, Means, failed_gates
from valley.scores.settings import bounds, gated, is_placebo_of, ruler_of, stratum
from valley.statistics import draw_weights, weighted_means

GROUP: tuple[str, ...] = (*RUNG, "edit_kind", "dataset", *SETTING)
PLACE = ("site", "lookup", "depth")


@dataclass(frozen=True)
class Score:
    """One column: the mean of `of(rows)`, one number per probe, over the probes of these kinds in one language.

    Attributes:
        lang: that language; empty is the one of the edit.
    """

    name: str
    kinds: tuple[str, ...]
    of: Callable[[pd.DataFrame], pd.Series]
    lang: str = ""


def _column(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda rows: rows[name]


def _more_bits(rows: pd.DataFrame) -> pd.Series:
    return rows["text_bits_after"] - rows["text_bits_before"]


# Beside the candidate scores of `valley.scores.cases`: free-running exact match, and what unrelated text costs more
# after the edit.
BESIDE = (
    Score("exact", ("efficacy", "paraphrase"), _column("exact_after")),
    Score("bits_en", ("drift",), _more_bits, "en"),
    Score("bits_fr", ("drift",), _more_bits, "fr"),
)
# Meng et al. 2022 (ROME), section 3.2 and its evaluation appendix; success and difference as in the published
# `summarize.py`. NS+ is CounterFact+'s (Hoelscher-Obermaier et al. 2023): NS with the edit's sentence in the prompt. It
# is no part of S.
COUNTERFACT = (
    Score("ES", ("efficacy",), preferred),
    Score("PS", ("paraphrase",), preferred),
    Score("NS", ("neighbour",), preferred),
    Score("NS+", ("neighbour_plus",), preferred),
    Score("EM", ("efficacy",), probability_margin),
    Score("PM", ("paraphrase",), probability_margin),
    Score("NM", ("neighbour",), probability_margin),
    Score("GE", ("fluency",), _column("entropy_after")),
    Score("RS", ("fluency",), _column("reference_score_after")),
)
# EasyEdit's `compute_edit_quality` (Wang et al. 2023): token accuracy under teacher forcing; locality compares with the
# unedited model's likeliest tokens; portability holds its aliases, its logical generalisation and its reasoning over
# several hops.
EASYEDIT = (
    Score("rewrite_acc", ("efficacy",), _column("token_accuracy_after")),
    Score("rephrase_acc", ("paraphrase",), _column("token_accuracy_after")),
    Score("locality_acc", ("neighbour", "same_subject"), _column("token_agreement")),
    Score("portability_acc", ("alias", "relation", "multi_hop"), _column("token_accuracy_after")),
    Score("fluency", ("fluency",), _column("entropy_after")),
)


# All that a table reads of the rows.
SCORE_COLUMNS = (
    *sorted(NEEDED),
    "answer_tokens",
    "rival_tokens",
    "exact_after",
    "text_bits_before",
    "text_bits_after",
    "logp_before",
    "logp_after",
    "logp_rival_before",
    "logp_rival_after",
    "entropy_after",
    "reference_score_after",
    "token_accuracy_after",
    "token_agreement",
)


def counterfact_scores(rows: pd.DataFrame, which: str = "known", draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """ES, PS, NS, their harmonic mean S, NS+, EM, PM, NM, GE and RS of every setting.

    Args:
        rows: the rows of a run.
        which: cases that count: "known" (at their rung), "known_everywhere" or "all".
        draws: samples of the cluster bootstrap by subject behind the intervals; 0 for none.
        seed: seed of the bootstrap.

    Returns:
        one line per rung, edit kind, data set, method and setting: GROUP, PLACE, n_cases, n_subjects, per score NAME,
        NAME_low and NAME_high (95%), and `gaps` (JSON): why a score is NaN. GE is in bits; the others are shares,
        probabilities or cosines.

    Raises:
        RowsError: the rows are not sound, no such stratum, nothing but failures.
    """
    return _published(rows, COUNTERFACT, Summary(("S",), _harmonic_of_three), which, draws, seed)


def easyedit_scores(rows: pd.DataFrame, which: str = "known", draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """rewrite_acc, rephrase_acc, locality_acc, portability_acc and fluency (bits) of every setting; see
    `counterfact_scores`."""
    return _published(rows, EASYEDIT, Summary(), which, draws, seed)


def our_scores(
    rows: pd.DataFrame, which: str = "known", draws: int = 1000, seed: int = 0, metric: str = PRIMARY
) -> pd.DataFrame:
    """Score, generalisation and specificity by the composite of `metric`, each probe kind, transfer net of siblings,
    BESIDE, and `gates` (JSON), those that the setting fails; see `counterfact_scores`.

    Above placebo where the setting's own placebo ran; a run without any is scored without (`attrs["note"]`). `exact` is
    a share, `bits_en` and `bits_fr` are bits per byte.
    """
    cases = case_scores(rows).drop(columns=["generalisation", "specificity"])
    cases = cases.join(_case_means(rows, BESIDE), on=list(UNIT))
    names = [*PROBE_KINDS, NET, *(score.name for score in BESIDE)]
    kinds_of = {name: (name,) for name in PROBE_KINDS} | {NET: ("cross_lingual",)}
    why = _reasons(rows, kinds_of | {score.name: score.kinds for score in BESIDE})
    one, note = ruler_of(metric, cases)
    table = _summarise(stratum(cases, which), cases, names, _summary(one), why, draws, seed)
    table.attrs.update({"metric": one.name, "note": note})
    return _about(rows, table)


@dataclass(frozen=True)
class Summary:
    """Columns made of the means of others.

    Attributes:
        heads: their names. make: (means (n,), those of the estimate (1,)) -> (n, len(heads)).
        hidden: columns of the cases that only they need.
    """

    heads: tuple[str, ...] = ()
    make: Callable[[Means, Means], np.ndarray] | None = None
    hidden: tuple[str, ...] = ()


def _summary(one: Composite) -> Summary:
    def make(means: Means, estimate: Means) -> np.ndarray:
        return np.column_stack([gated(one, means, bool(failed_gates(estimate))), *one.parts(means)])

    return Summary(("score", "generalisation", "specificity"), make, CASE_COLUMNS)


def _harmonic_of_three(means: Means, _: Means) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(3 / sum(1 / means.values[name] for name in ("ES", "PS", "NS")))[:, None]


TABLES: Mapping[str, Callable[..., pd.DataFrame]] = {
    "ours": our_scores,
    "counterfact": counterfact_scores,
    "easyedit": easyedit_scores,
}


def _published(
    rows: pd.DataFrame,
    scores: Sequence[Score],
    summary: Summary,
    which: str,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    facts = case_scores(rows)[[*UNIT, *PLACE, "subject", "known", "known_everywhere"]]
    cases = facts.join(_case_means(rows, scores), on=list(UNIT))
    why = _reasons(rows, {score.name: score.kinds for score in scores})
    names = [score.name for score in scores]
    return _about(rows, _summarise(stratum(cases, which), cases, names, summary, why, draws, seed))


def _about(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The table, with how the weights were tuned and packed beside it."""
    table.attrs["weights"] = weights_of(rows)
    return table


def _case_means(rows: pd.DataFrame, scores: Sequence[Score]) -> pd.DataFrame:
    """One line per edited case (UNIT is the index), one column per score: the mean over its probes."""
    good = rows.loc[rows["error"] == "", [name for name in SCORE_COLUMNS if name in rows]]
    good = good.assign(_unit=coded(good[list(UNIT)]).groupby(list(UNIT), observed=True).ngroup())
    good = good.join(edit_languages(good, ("_unit",)).rename("home"), on="_unit")
    names = good.drop_duplicates("_unit").set_index("_unit")[list(UNIT)]
    columns = {}
    for score in scores:
        part = good[good["probe"].isin(score.kinds) & (good["lang"] == (score.lang or good["home"]))]
        columns[score.name] = score.of(part).groupby(part["_unit"]).mean()
    means = pd.DataFrame(columns, dtype="float64")
    return means.set_index(pd.MultiIndex.from_frame(names.loc[means.index]))


def _reasons(rows: pd.DataFrame, kinds: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, str, str], str]:
    """(edit kind, data set, score) -> why it may be missing: its probes were not asked, or could not be measured."""
    why = {}
    good = rows.loc[rows["error"] == "", ["edit_kind", "dataset", "probe", "answer_tokens"]]
    for (edit_kind, dataset), part in good.groupby(["edit_kind", "dataset"], observed=True):
        there, older = set(part["probe"].unique()), bool(part["answer_tokens"].isna().all())
        for name, members in kinds.items():
            missing = " and ".join(kind for kind in members if kind in there)
            text = f"nothing measurable in the {missing} probes" if missing else f"no {' or '.join(members)} probes"
            if missing and older and name in _CAME_LATER:
                text = "an older version wrote this run; run bench again"
            elif missing and name == "RS":
                text = "no fluency probe has a reference text"
            why[edit_kind, dataset, name] = text
    return why


_CAME_LATER = {score.name for score in (*COUNTERFACT, *EASYEDIT, *BESIDE)} - {"GE", "RS", "fluency", "exact"}


def _summarise(
    used: pd.DataFrame,
    cases: pd.DataFrame,
    names: list[str],
    summary: Summary,
    why: Mapping[tuple[str, str, str], str],
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Means and intervals of `names` over the cases `used` of each group; `cases` are those of all strata."""
    if draws < 0:
        raise RowsError(f"draws is {draws}; give 0 (no intervals) or more")
    if cases.empty:
        raise RowsError(
            "no measured case in this run; `python cli.py bench` with the same --out tries failed cells again"
        )
    counted = cases.index.isin(used.index)
    place = coded(cases[list(dict.fromkeys((*GROUP, *_POOL, "case")))])
    group = place.groupby(list(GROUP), observed=True).ngroup().to_numpy()
    unique = place.groupby([*_POOL, "case"], observed=True).ngroup().to_numpy()
    weights = _weights(cases, unique, draws, seed)
    n_groups = int(group.max()) + 1
    lines = cases.loc[~pd.Series(group, index=cases.index).duplicated(), list(GROUP)]
    lines = lines.assign(_group=group[cases.index.get_indexer(lines.index)]).sort_values("_group")
    columns: dict[str, object] = {name: lines[name].tolist() for name in GROUP}
    columns |= {name: _joined(cases[name], group, n_groups) for name in ("site", "lookup")}
    columns["depth"] = cases["depth"].astype("float64").groupby(group).median().to_numpy()
    order = np.flatnonzero(counted)[np.argsort(group[counted], kind="stable")]
    ends = np.searchsorted(group[order], np.arange(n_groups + 1))
    columns["n_cases"] = np.diff(ends)
    subjects = pd.factorize(cases["subject"])[0]
    pairs = np.unique(np.column_stack([group[counted], subjects[counted]]), axis=0)
    columns["n_subjects"] = n_subjects = np.bincount(pairs[:, 0], minlength=n_groups)
    shown, every = [*summary.heads, *names], [*names, *summary.hidden]
    values = cases[every].to_numpy(dtype="float64")
    point, low, high = np.full((3, n_groups, len(shown)), np.nan)
    of_group = [order[ends[i] : ends[i + 1]] for i in range(n_groups)]
    failed = []
    for i, paired in enumerate(_placebos(lines)):
        part, other = of_group[i], np.zeros(0, dtype=int)
        if paired:
            other = np.concatenate([of_group[k] for k in paired])
            other = other[np.isin(unique[other], unique[part])]
        estimate = _means_of(values, every, part, other)
        failed.append(failed_gates(estimate) if summary.hidden else {})
        point[i] = _with_summary(estimate, estimate, names, summary)[0]
        if draws and n_subjects[i] > 1:
            means = _means_of(values, every, part, other, weights, unique)
            samples = _with_summary(means, estimate, names, summary)
            low[i], high[i] = bounds(samples, int(n_subjects[i]))
    columns["gates"] = [json.dumps({name: round(value, 4) for name, value in one.items()}) for one in failed]
    for j, name in enumerate(shown):
        columns |= {name: point[:, j], f"{name}_low": low[:, j], f"{name}_high": high[:, j]}
    table = pd.DataFrame(columns)
    table["gaps"] = _gaps(table, shown, names, why)
    kinds = sorted(set(table["edit_kind"]), key=kind_order)
    table = table.assign(_kind=[kinds.index(kind) for kind in table["edit_kind"]])
    by = ["ladder", "_kind", "dataset", "rung_index", "rung", *SETTING]
    table = table.sort_values(by, kind="stable", ignore_index=True).drop(columns="_kind")
    table.attrs.update({"scores": shown, "draws": draws, "seed": seed})
    return table


def _joined(texts: pd.Series, group: np.ndarray, n_groups: int) -> list[str]:
    """The different texts of each group but the empty one, in alphabetical order, joined by "+"."""
    pairs = pd.DataFrame({"group": group, "text": texts.to_numpy()}).drop_duplicates().sort_values(["group", "text"])
    parts: list[list[str]] = [[] for _ in range(n_groups)]
    for number, text in zip(pairs["group"].tolist(), pairs["text"].tolist(), strict=True):
        if text:
            parts[number].append(text)
    return ["+".join(part) for part in parts]


def _gaps(
    table: pd.DataFrame, shown: list[str], names: list[str], why: Mapping[tuple[str, str, str], str]
) -> list[str]:
    """Per line the reasons of its missing scores, as JSON."""
    texts = []
    for line in table.to_dict("records"):
        gaps = {}
        for name in (name for name in names if pd.isna(line[name])):
            if reason := why.get((line["edit_kind"], line["dataset"], name)):
                gaps[name] = reason if line["n_cases"] else "no case of this stratum"
        if "score" in shown and pd.isna(line["score"]) and line["method"] not in CONTROLS and line["n_cases"]:
            gaps["score"] = "no placebo edits of this method and setting, or a side of it is not measurable"
        texts.append(json.dumps(gaps, ensure_ascii=False))
    return texts


_POOL = ("ladder", "edit_kind", "dataset")  # cases are exchanged within one, the same at every rung and setting


def _weights(cases: pd.DataFrame, unique: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """(different cases, draws): how often each draw of the cluster bootstrap has a case: subjects are drawn, then cases
    in them.

    Args:
        unique: the number of the case of each line of `cases`; a case is the same at every rung and setting.
    """
    out = np.zeros((int(unique.max()) + 1, draws))
    first = cases[[*_POOL, "subject", "case"]].assign(_case=unique)[~pd.Series(unique, index=cases.index).duplicated()]
    first = first.sort_values([*_POOL, "subject", "case"], kind="stable")
    for key, part in first.groupby(list(_POOL), observed=True):
        drawn = draw_weights(part["subject"].tolist(), draws, [seed, *"/".join(map(str, key)).encode()])
        out[part["_case"].to_numpy()] = drawn.T
    return out


def _placebos(lines: pd.DataFrame) -> list[list[int]]:
    """Per line the places of the lines that are its own placebo, at the same rung and on the same cases."""
    places = lines[["ladder", "rung_index", "rung", "edit_kind", "dataset"]].itertuples(index=False, name=None)
    settings = lines[list(SETTING)].astype(str).itertuples(index=False, name=None)
    every = list(zip(places, settings, strict=True))
    controls = [(i, place, own) for i, (place, (method, own)) in enumerate(every) if method == PLACEBO]
    return [[i for i, at, own in controls if at == place and is_placebo_of(own, *setting)] for place, setting in every]


def _means_of(
    values: np.ndarray,
    names: list[str],
    part: np.ndarray,
    placebo: np.ndarray,
    weights: np.ndarray | None = None,
    unique: np.ndarray | None = None,
) -> Means:
    """Means (1,) of the lines `part` and of the placebo's by name, or (draws,) under bootstrap weights.

    Args:
        weights: (different cases, draws), as of `_weights`. unique: which of the cases each line is.
    """
    made = []
    for some in (part, placebo):
        w = np.ones((1, len(some))) if weights is None or unique is None else weights[unique[some]].T
        there: list[int] = np.flatnonzero(~np.isnan(values[some]).all(axis=0)).tolist()  # 10 of 40 kinds of scores
        means = dict(zip(there, weighted_means(w, values[some].take(there, axis=1)).T, strict=True))
        nothing = np.full(len(w), np.nan)
        made.append({name: means.get(j, nothing) for j, name in enumerate(names)} if len(some) or some is part else {})
    return Means(*made)


def _with_summary(means: Means, estimate: Means, names: list[str], summary: Summary) -> np.ndarray:
    """(n, heads + names): what the summary makes of the means, then the means."""
    columns = [means.values[name] for name in names]
    return np.column_stack([*([] if summary.make is None else [summary.make(means, estimate)]), *columns])
