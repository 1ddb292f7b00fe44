"""The field's scores, per setting: CounterFact's, EasyEdit's, and ours beside them, with 95% intervals.

rows = valley.rows.schema.read_run("results/demo")
print(valley.text.published.format_scores(valley.scores.published.counterfact_scores(rows)))

A probe gives a number, a case the mean of its probes, a setting the mean of its cases, as in the published code. No
setting is chosen here, so dev and test cases both count. The published scores ask in one language, so only probes in
the language of the edit do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import NET, PROBE_KINDS, preferred, probability_margin, weights_of
from valley.scores.cases import NEEDED, UNIT, at_full_dose, check, coded, scores_of, unit_numbers, without_errors
from valley.scores.composites import CASE_COLUMNS, PRIMARY, Composite, Means
from valley.scores.published.settings_table import Summary, summarise
from valley.scores.resampling import gated
from valley.scores.settings import ruler_of, stratum

PLACE = ("site", "lookup", "depth")


@dataclass(frozen=True)
class Score:
    """One column: the mean of `of(rows)`, one number per probe, over the probes of these kinds in one language.

    Attributes:
        lang: that language; empty is the one of the edit.
        range: its least and greatest value.
    """

    name: str
    kinds: tuple[str, ...]
    of: Callable[[pd.DataFrame], pd.Series]
    lang: str = ""
    range: tuple[float, float] = (0.0, 1.0)


MARGIN, BITS, MORE_BITS = (-1.0, 1.0), (0.0, np.inf), (-np.inf, np.inf)


def _column(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda rows: rows[name]


def _more_bits(rows: pd.DataFrame) -> pd.Series:
    return rows["text_bits_after"] - rows["text_bits_before"]


# Beside the candidate scores of `valley.scores.cases`: free-running exact match, and what unrelated text costs more
# after the edit.
BESIDE = (
    Score("exact", ("efficacy", "paraphrase"), _column("exact_after")),
    Score("bits_en", ("drift",), _more_bits, "en", MORE_BITS),
    Score("bits_fr", ("drift",), _more_bits, "fr", MORE_BITS),
)
# Meng et al. 2022 (ROME), section 3.2 and its evaluation appendix; success and difference as in the published
# `summarize.py`. NS+ is CounterFact+'s (Hoelscher-Obermaier et al. 2023): NS with the edit's sentence in the prompt. It
# is no part of S.
COUNTERFACT = (
    Score("ES", ("efficacy",), preferred),
    Score("PS", ("paraphrase",), preferred),
    Score("NS", ("neighbour",), preferred),
    Score("NS+", ("neighbour_plus",), preferred),
    Score("EM", ("efficacy",), probability_margin, range=MARGIN),
    Score("PM", ("paraphrase",), probability_margin, range=MARGIN),
    Score("NM", ("neighbour",), probability_margin, range=MARGIN),
    Score("GE", ("fluency",), _column("entropy_after"), range=BITS),
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
    Score("fluency", ("fluency",), _column("entropy_after"), range=BITS),
)


# All that a table reads of the rows.
SCORE_COLUMNS = (
    *sorted(NEEDED),
    "answer_tokens",
    "rival_tokens",
    "exact_before",
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
    return table_of(rows, COUNTERFACT, Summary(("S",), _harmonic_of_three), which, draws, seed)


def easyedit_scores(rows: pd.DataFrame, which: str = "known", draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """rewrite_acc, rephrase_acc, locality_acc, portability_acc and fluency (bits) of every setting; see
    `counterfact_scores`."""
    return table_of(rows, EASYEDIT, Summary(), which, draws, seed)


def our_scores(
    rows: pd.DataFrame, which: str = "known", draws: int = 1000, seed: int = 0, metric: str = PRIMARY
) -> pd.DataFrame:
    """Score, generalisation and specificity by the composite of `metric`, each probe kind, transfer net of siblings,
    BESIDE, and `gates` (JSON), those that the setting fails; see `counterfact_scores`.

    Above placebo where the setting's own placebo ran; a run without any is scored without (`attrs["note"]`). `exact` is
    a share, `bits_en` and `bits_fr` are bits per byte.
    """
    rows = check(rows)
    cases = scores_of(rows).drop(columns=["generalisation", "specificity"])
    cases = cases.join(_case_means(rows, cases["edit_lang"], BESIDE))
    names = [*PROBE_KINDS, NET, *(score.name for score in BESIDE)]
    kinds_of = {name: (name,) for name in PROBE_KINDS} | {NET: ("cross_lingual",)}
    why = _reasons(rows, kinds_of | {score.name: score.kinds for score in BESIDE})
    one, note = ruler_of(metric, cases)
    ranges = {score.name: score.range for score in BESIDE}
    table = summarise(stratum(cases, which), cases, names, _summary(one), why, draws, seed, ranges)
    table.attrs.update({"metric": one.name, "note": note})
    return _about(rows, table)


def _summary(one: Composite) -> Summary:
    def make(means: Means, failed: np.ndarray) -> np.ndarray:
        return np.stack([gated(one, means, failed), *one.parts(means)], axis=-1)

    return Summary(("score", "generalisation", "specificity"), make, CASE_COLUMNS)


def _harmonic_of_three(means: Means, _: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(3 / sum(1 / means.values[name] for name in ("ES", "PS", "NS")))[..., None]


TABLES: Mapping[str, Callable[..., pd.DataFrame]] = {
    "ours": our_scores,
    "counterfact": counterfact_scores,
    "easyedit": easyedit_scores,
}


def table_of(
    rows: pd.DataFrame,
    scores: Sequence[Score],
    summary: Summary,
    which: str,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Means of `scores` and of `summary` over the cases of every setting; see `counterfact_scores`."""
    rows = check(rows)
    facts = scores_of(rows)[[*UNIT, *PLACE, "subject", "known", "known_everywhere", "edit_lang"]]
    cases = facts.join(_case_means(rows, facts["edit_lang"], scores))
    why = _reasons(rows, {score.name: score.kinds for score in scores})
    ranges = {score.name: score.range for score in scores}
    return _about(rows, summarise(stratum(cases, which), cases, [*ranges], summary, why, draws, seed, ranges))


def _about(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The table, with how the weights were tuned and packed beside it."""
    table.attrs["weights"] = weights_of(rows)
    return table


def _case_means(rows: pd.DataFrame, languages: pd.Series, scores: Sequence[Score]) -> pd.DataFrame:
    """A column per score: the mean over its probes of each edited case, by number.

    Args:
        languages: of the edits, by number.
    """
    good = coded(without_errors(at_full_dose(rows), [name for name in SCORE_COLUMNS if name in rows]))
    good["_unit"] = unit_numbers(good)
    home = pd.Categorical(languages, categories=good["lang"].cat.categories).codes[good["_unit"].to_numpy()]
    lang = good["lang"].cat.codes.to_numpy()
    columns = {}
    for score in scores:
        in_language = good["lang"].eq(score.lang).to_numpy() if score.lang else lang == home
        part = good[good["probe"].isin(score.kinds).to_numpy() & in_language]
        columns[score.name] = score.of(part).groupby(part["_unit"]).mean()
    return pd.DataFrame(columns, index=languages.index, dtype="float64")


def _reasons(rows: pd.DataFrame, kinds: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, str, str], str]:
    """(edit kind, data set, score) -> why it may be missing: its probes were left out, or not measurable."""
    why = {}
    good = without_errors(rows, ["edit_kind", "dataset", "probe", "answer_tokens"])
    for (edit_kind, dataset), part in good.groupby(["edit_kind", "dataset"], observed=True):
        there, older = set(part["probe"].unique()), bool(part["answer_tokens"].isna().all())
        for name, members in kinds.items():
            missing = " and ".join(kind for kind in members if kind in there)
            sought = "such" if members == (name,) else " or ".join(members)  # scores of one reason share a line
            text = f"nothing measurable in the {missing} probes" if missing else f"no {sought} probes"
            if missing and older and name in _CAME_LATER:
                text = "an older version wrote this run; run bench again"
            elif missing and name == "RS":
                text = "no fluency probe has a reference text"
            why[edit_kind, dataset, name] = text
    return why


_CAME_LATER = {score.name for score in (*COUNTERFACT, *EASYEDIT, *BESIDE)} - {"GE", "RS", "fluency", "exact"}
