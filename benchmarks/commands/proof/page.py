"""The text of results/proof/README.md: one claim after the other, each with its picture, its numbers and its size."""

from __future__ import annotations

import numpy as np
import pandas as pd

from valley.proof import VIEWS, Choice, winner_sentence
from valley.verdicts import INCONCLUSIVE, NO_VALLEY, Shapes

PLANTED = {
    "planted-valley": "valley", "planted-hump": "hump", "planted-rise": "rise", "planted-flat": "constant",
}  # fmt: skip


def number(value: object, digits: int = 2) -> str:
    if isinstance(value, str | bool | np.bool_):
        return str(value)
    return "n/a" if value is None or value != value else f"{value:.{digits}f}"


def markdown(table: pd.DataFrame, digits: int = 2) -> str:
    """A pipe table; whole numbers stay whole, NaN is n/a."""
    whole = {name for name in table if pd.api.types.is_integer_dtype(table[name])}
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "---|" * len(table.columns)]
    for row in table.to_dict("records"):
        cells = [str(value) if name in whole else number(value, digits) for name, value in row.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def oracle_section(name: str, table: pd.DataFrame, picture: str) -> str:
    shown = table.rename(
        columns={"edit_kind": "kind", "score_moved": "moved", "news_edited": "says new",
                 "news_oracle": "retrained says",
                 "news_other_language_edited": "in French", "news_other_language_oracle": "retrained in French"}
    )  # fmt: skip
    order = ["kind", "method", "scope", "edits", "measurable", "score", "low", "high", "moved", "kept", "says new",
             "retrained says", "in French", "retrained in French"]  # fmt: skip
    shown = shown[order].sort_values(["kind", "scope", "score"], ascending=[True, True, False])
    return f"""
Run `{name}`: {int(table["rungs"].max())} models, the same edits at every model. Score 0 is no edit, 1 as good as
retraining, below 0 is harm; `moved` is the score over the probes that retraining moves, `kept` is 1 minus the harm to
those that it leaves alone. Intervals are over edits.

![oracle score by method]({picture})

{markdown(shown)}
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
    return f"""
![composites against the oracle](composites.png)

Rank correlations of the composites with the oracle score, from the worst to the best one: {across}. For each view:

{winners}

{markdown(wide)}
"""


def verdicts_section(verdicts: dict[str, tuple[pd.DataFrame, Shapes]]) -> str:
    lines = []
    for name, (curve, judged) in verdicts.items():
        (verdict,) = judged.verdicts.values()
        sizes = curve.groupby("size")["value"].mean()
        lines.append({"ladder": name, "planted": PLANTED[name], "verdict": verdict.outcome, "in words": verdict.text,
                      "steps": len(sizes), "models": curve["rung"].nunique()})  # fmt: skip
    expected = {"valley": "valley", "hump": "hump", "rise": NO_VALLEY, "constant": NO_VALLEY}  # a rise has no name
    right = sum(line["verdict"] == expected[line["planted"]] for line in lines)
    open_ones = sum(line["verdict"] == INCONCLUSIVE for line in lines)
    return f"""
![the planted ladders](verdicts.png)

Of {len(lines)} planted ladders {right} got the planted verdict, {len(lines) - right - open_ones} a wrong one and
{open_ones} none, for the reason in the table, which also says how deep a valley would have to be.

{markdown(pd.DataFrame(lines))}
"""


def what_follows(trends: pd.DataFrame, scores: tuple[str, ...], level: float = 0.05) -> str:
    """In a sentence: which scores of which methods follow the dial, and which do not."""
    shown = trends[trends["score"].isin(scores)]
    words = {True: [], False: []}
    for line in shown.to_dict("records"):
        rises = line[_levels(trends)[-1]] >= line[_levels(trends)[0]]
        text = f"{line['score']} of {line['method']} ({'rises' if rises else 'falls'}, p = {number(line['page_p'], 3)})"
        words[bool(line["page_p"] < level)].append(text)
    return (
        f"Follow the dial (p < {level:g}): {'; '.join(words[True]) or 'none'}.\n"
        f"Do not: {'; '.join(words[False]) or 'none'}."
    )


def _levels(trends: pd.DataFrame) -> list[str]:
    names = [name for name in trends.columns if name.split(" ")[0] in ("switch", "homonym", "people")]
    return sorted(names, key=lambda name: float(name.split(" ")[1]))


def trend_section(trends: pd.DataFrame, scores: tuple[str, ...]) -> str:
    return markdown(trends[trends["score"].isin(scores)].dropna(axis=1, how="all"), 3)
