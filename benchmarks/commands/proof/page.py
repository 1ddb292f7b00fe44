"""The text of results/proof/README.md: one claim after the other, each with its picture, its numbers and its size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.grown import DIALS
from editing.lazy import pandas as pd
from valley.proof import LEVEL, VIEWS, Choice, Trend, winner_sentence
from valley.statistics import holm
from valley.verdicts import BEST, INCONCLUSIVE, NO_VALLEY, Shapes

PLANTED = {
    "planted-valley": "valley", "planted-valley-half": "valley", "planted-valley-fifth": "valley",
    "planted-hump": "hump", "planted-rise": "rise", "planted-flat": "constant",
}  # fmt: skip

RIGHT = {"valley": ("valley",), "hump": ("hump",), "rise": (NO_VALLEY, "logistic"), "constant": (NO_VALLEY,)}


def number(value: object, digits: int = 2) -> str:
    if isinstance(value, str | bool | np.bool_):
        return str(value)
    return "n/a" if value is None or value != value else f"{value:.{digits}f}"


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {number(p, 3)}"


def markdown(table: pd.DataFrame, digits: int = 2) -> str:
    """A pipe table; whole numbers stay whole, NaN is n/a."""
    whole = {name for name in table if pd.api.types.is_integer_dtype(table[name])}
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "---|" * len(table.columns)]
    for row in table.to_dict("records"):
        cells = [str(value) if name in whole else number(value, digits) for name, value in row.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def oracle_section(table: pd.DataFrame, sizes: pd.DataFrame, recall: float, drawn: tuple[int, int]) -> str:
    """`drawn`: models in which `random_layer` edits where ROME does, and all that have both."""
    shown = table.rename(
        columns={"edit_kind": "kind", "score_moved": "moved", "news_edited": "says new",
                 "news_oracle": "retrained says",
                 "news_other_language_edited": "in French", "news_other_language_oracle": "retrained in French"}
    )  # fmt: skip
    order = ["kind", "method", "scope", "edits", "measurable", "score", "low", "high", "moved", "kept", "says new",
             "retrained says", "in French", "retrained in French"]  # fmt: skip
    shown = shown[order].sort_values(["kind", "scope", "score"], ascending=[True, True, False])
    return f"""
Run `saturated`: {int(table["rungs"].max())} models of {len(sizes.columns) - 2} sizes, the same edits at every
model; the weakest model states {100 * recall:.1f}% of its training facts. Score 0 is no edit, 1 as good as retraining,
below 0 is harm; `moved` is the score over the probes that retraining moves, `kept` is 1 minus the harm to those that it
leaves alone. Scope `both`: the retrained model saw the news in both languages; `one`: in English. Intervals over edits.

![oracle score by method](oracle.png)

{_why_documents_are_not_1(table)}
{_what_a_random_layer_is(*drawn)}
{markdown(shown)}

The same score by size, both languages, means over edits and seeds:

![oracle score by size](oracle-by-size.png)

{markdown(sizes)}
"""


def _why_documents_are_not_1(table: pd.DataFrame) -> str:
    """The parts of the score of `documents` on facts: it reads the very sentences that the retrained model read."""
    lines = table[(table["method"] == "documents") & (table["edit_kind"] == "fact") & (table["scope"] == "both")]
    if lines.empty:
        return ""
    line = lines.iloc[0]
    return (
        "`documents` trains the base on the very sentences that report the news, and still scores "
        f"{number(line['score'])} on facts, not 1: it gets {number(line['score_moved'])} of the way where retraining "
        f"moves, but keeps only {number(line['kept'])} of what retraining leaves alone, since nothing else is read "
        "beside the news."
    )


def _what_a_random_layer_is(same: int, models: int) -> str:
    if not same:
        return ""
    return (
        f"`random_layer` drew the block that ROME edits anyway in {same} of {models} models (most have one or two "
        "blocks), so here it is no control for the place.\n"
    )


def twins_section(carried: pd.DataFrame, trend: Trend) -> str:
    return f"""
The truth of the dial, by models that were trained again: English reported the news, French was silent about it
(scope `one`), and the questions are French. `retrained`: their probability of the new answer; `edited`: that of edits
made in English, mean over the methods but the placebo.

{markdown(carried)}

Page's test of `retrained` over the seeds: p = {number(trend.p, 4)}; the smallest step distinguished at level .05:
{number(trend.resolution)}.
"""


def ordered_readings(trends: pd.DataFrame) -> str:
    """The readings whose corrected p is below LEVEL, in words."""
    ordered = trends.loc[trends["holm"] < LEVEL, ["method", "score"]].itertuples(index=False)
    return ", ".join(f"{score} ({reading})" for reading, score in ordered) or "none"


def readings_section(trends: pd.DataFrame) -> str:
    return f"""
Nothing is edited here. Measures that compare the two languages, at the layer where each is highest; Page's test over
the seeds, two-sided, and corrected for the number of measures by Holm. Ordered by the dial (corrected p < {LEVEL:g}):
{ordered_readings(trends)}.

![readings along the dial](readings-shared.png)

{markdown(trends.rename(columns={"method": "reading", "score": "measure"}).dropna(axis=1, how="all"), 3)}
"""


def composites_section(choice: Choice) -> str:
    wide = choice.table.pivot(index="composite", columns=["half", "view"], values="rho")
    wide = wide[[(half, view) for half in ("choose", "confirm") for view in VIEWS if (half, view) in wide]]
    wide = wide.dropna(axis=1, how="all").reset_index()
    wide.columns = [" ".join(part for part in name if part) for name in wide.columns.to_flat_index()]
    means = choice.table.groupby("view")["rho"].agg(["min", "max"])
    across = "; ".join(
        f"across {view} {number(low)} to {number(high)}"
        for view, low, high in means.itertuples(name=None)
        if low == low
    )
    winners = "\n".join(f"* {winner_sentence(line)}." for line in choice.winners.to_dict("records"))
    if choice.good:
        decision = f"**{choice.winners['composite'].iloc[0]} wins every view** and may stand for the oracle."
    else:
        decision = (
            "No composite wins every view and is good in each, so none replaces the primary one, `harmonic_net_all`."
        )
    return f"""
![composites against the oracle](composites.png)

Rank correlations of the composites with the oracle score, from the worst to the best one: {across}. For each view:

{winners}

{decision}

{markdown(wide)}
"""


def verdict_lines(verdicts: dict[str, tuple[pd.DataFrame, Shapes]]) -> pd.DataFrame:
    """One line per planted ladder: what was planted, the verdict, prominence and p of the planted shape by the best
    method's curve, and the verdict in words."""
    lines = []
    for name, (curve, judged) in verdicts.items():
        (verdict,) = judged.verdicts.values()
        planted = PLANTED[name]
        best = judged.tests[judged.tests["method"] == BEST].iloc[0]
        shape = "hump" if planted == "hump" else "valley"
        lines.append(
            {
                "ladder": name,
                "planted": planted,
                "verdict": verdict.outcome,
                "prominence": best[f"D_{shape}"],
                "p": best[f"p_{shape}"],
                "bound": verdict.bound,
                "detectable": verdict.detectable,
                "steps": curve["size"].nunique(),
                "models": curve["rung"].nunique(),
                "in words": verdict.text,
            }
        )
    return pd.DataFrame(lines)


def counts(lines: pd.DataFrame) -> tuple[int, int, int]:
    """Right, wrong and inconclusive verdicts."""
    right = sum(line["verdict"] in RIGHT[line["planted"]] for line in lines.to_dict("records"))
    undecided = int((lines["verdict"] == INCONCLUSIVE).sum())
    return right, len(lines) - right - undecided, undecided


def verdicts_section(lines: pd.DataFrame) -> str:
    right, wrong, undecided = counts(lines)
    return f"""
![the planted ladders](verdicts.png)

Of {len(lines)} planted ladders {right} got the planted verdict, {wrong} a wrong one and {undecided} none,
for the reason in the table. `logistic` is a curve that rises, or falls, all the way; `no valley` comes with the depth
that is excluded. Prominence (of a hump where one was planted, else of a valley) is in units of transfer, with its
p-value, by the curve of the best method; `bound`: no valley is deeper (95%);
`detectable`: the smallest valley that this ladder would show 80% of the time.

{markdown(lines)}
"""


def what_follows(trends: pd.DataFrame, words: Mapping[str, str]) -> str:
    """In two lines: which scores of which methods are ordered by the dial, and which are not.

    Args:
        words: the scores that count, and what they are called. Their p-values are corrected together by Holm's method.
    """
    shown = trends[trends["score"].isin(list(words))]
    levels = _levels(trends)
    rises = shown[levels[-1]] >= shown[levels[0]]
    shown = shown.assign(holm=holm(shown["page_p"].tolist()), way=rises.map({True: "rises", False: "falls"}))
    ordered = shown["holm"] < LEVEL
    return (
        f"Ordered by the dial (Page, corrected by Holm, p < {LEVEL:g}): {_in_words(shown[ordered], words)}.\n"
        f"Not ordered: {_in_words(shown[~ordered], words)}."
    )


def _in_words(trends: pd.DataFrame, words: Mapping[str, str]) -> str:
    """Such as "transfer to French rises (rome p < 0.001, memit p = 0.002)", a part per score and direction."""
    parts = []
    for (score, way), lines in trends.groupby(["score", "way"], sort=False):
        methods = ", ".join(f"{line['method']} {p_value(line['holm'])}" for line in lines.to_dict("records"))
        parts.append(f"{words[str(score)]} {way} ({methods})")
    return "; ".join(parts) or "none"


def _levels(trends: pd.DataFrame) -> list[str]:
    names = [name for name in trends.columns if name.split(" ")[0] in DIALS]
    return sorted(names, key=lambda name: float(name.split(" ")[1]))


def trend_section(trends: pd.DataFrame, scores: tuple[str, ...]) -> str:
    return markdown(trends[trends["score"].isin(scores)].dropna(axis=1, how="all"), 3)
