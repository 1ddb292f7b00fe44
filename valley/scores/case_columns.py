"""The columns of the case scores that composites read beside the probe kinds: by language, as published, over doses."""

from __future__ import annotations

from collections.abc import Sequence

from editing.lazy import pandas as pd
from valley.rows import preferred
from valley.scores.composites import CASE_COLUMNS
from valley.scores.composites.composite import DOSES, IN_LANGUAGE, KEPT, OWN, SPECIFIC_ENOUGH
from valley.statistics import hypervolume

# Read where the rows have them; an older run may not.
OPTIONAL = (
    "logp_after", "logp_rival_after", "answer_tokens", "rival_tokens", "token_accuracy_after", "token_agreement",
)  # fmt: skip


def composite_columns(good: pd.DataFrame, languages: pd.Series) -> pd.DataFrame:
    """CASE_COLUMNS but those of doses, by unit.

    Args:
        good: rows without errors, `_unit` being the number of the edited case from 0 on, texts as categories.
        languages: language of the edit by number.
    """
    home = pd.Categorical(languages.sort_index(), categories=good["lang"].cat.categories)
    own = good["lang"].cat.codes.to_numpy() == home.codes[good["_unit"].to_numpy()]
    kinds = [name.removesuffix(OWN) for name in CASE_COLUMNS if name.endswith(OWN)]
    chosen = good[own & good["probe"].isin(kinds)]
    table = _means(chosen, "value").reindex(columns=kinds).add_suffix(OWN)
    used = good["probe"].isin(("efficacy", "paraphrase", "neighbour")).to_numpy()
    numbers = good[used].reindex(columns=["_unit", "probe", *OPTIONAL])
    # As published: in the language of the edit. Probes without a rival have none, and no mean counts them.
    numbers["won"] = preferred(numbers).where(own[used])
    for name, kind, column in (
        ("es", "efficacy", "won"),
        ("ps", "paraphrase", "won"),
        ("ns", "neighbour", "won"),
        ("reliability", "efficacy", "token_accuracy_after"),
        ("rephrase", "paraphrase", "token_accuracy_after"),
        ("locality", "neighbour", "token_agreement"),
    ):
        table[name] = numbers[numbers["probe"].eq(kind)].groupby("_unit")[column].mean()
    units = pd.Index(sorted(good["_unit"].unique()), name="_unit")
    return table.reindex(units).reindex(columns=list(CASE_COLUMNS)).astype("float64")


def _means(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    table = rows.groupby(["_unit", "probe"], observed=True)[column].mean().unstack("probe")
    table.columns = list(map(str, table.columns))
    return table


def dose_columns(rows: pd.DataFrame, unit: Sequence[str]) -> pd.DataFrame:
    """DOSES by unit, of the cases with several doses.

    Per dose a case has a generalisation (mean of its in-language kinds) and a specificity (mean of KEPT). dose_area is
    the integral over s in [0, 1] of the largest generalisation at a specificity of s or more; no edit at all
    (generalisation 0, specificity 1) is one of the doses. dose_gen_at_spec is that integrand at SPECIFIC_ENOUGH.
    """
    used = rows[rows["probe"].isin([*IN_LANGUAGE, *KEPT]) & (rows["error"] == "")]
    means = used.groupby([*unit, "dose", "probe"], observed=True)["value"].mean().unstack("probe")
    means.columns = list(map(str, means.columns))
    points = pd.DataFrame(
        {
            "gen": means.reindex(columns=list(IN_LANGUAGE)).mean(axis=1),
            "spec": means.reindex(columns=list(KEPT)).mean(axis=1),
        }
    ).dropna()
    several = points.groupby(level=list(unit), observed=True).filter(lambda part: len(part) > 1)
    records = {}
    for key, part in several.groupby(level=list(unit), observed=True):
        gen, spec = part["gen"].to_numpy(), part["spec"].to_numpy()
        records[key] = (float(hypervolume(gen, spec)), float(gen[spec >= SPECIFIC_ENOUGH].max(initial=0.0)))
    table = pd.DataFrame([(*key, *values) for key, values in records.items()], columns=[*unit, *DOSES])
    return table.set_index(list(unit)).astype("float64")
