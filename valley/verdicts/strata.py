"""How many cases each stratum has, and whether the verdicts hold on the cases that every rung knows.

A plan scores the cases known at their rung, by default. On a ladder with very weak rungs hardly a case is known at
every one of them; where enough are, rungs are compared on the same facts, and the verdict by those stands beside the
plan's.
"""

from __future__ import annotations

from dataclasses import replace

from editing.lazy import pandas as pd
from valley.rows import RUNG
from valley.scores import AnalysisPlan, Available, available
from valley.verdicts.shape import shapes
from valley.verdicts.verdict import Verdict

PAIRED = "known_everywhere"  # the stratum in which rungs compare fact by fact


def strata(scored: Available) -> pd.DataFrame:
    """One line per ladder and edit kind, of the scored cases: cases, known_least and known_most (at one rung),
    known_everywhere,
    known_nowhere."""
    scored_on = scored.lines.groupby(["ladder", "edit_kind"])["scored_on"].first().rename("scored_on").reset_index()
    cases = scored.scores[[*RUNG, "edit_kind", "pair", "split", "known", "known_everywhere"]].merge(scored_on)
    cases = cases[(cases["scored_on"] == "all") | (cases["split"] == cases["scored_on"])]
    cases = cases.drop_duplicates([*RUNG, "edit_kind", "pair"])
    lines = []
    for (ladder, kind), part in cases.groupby(["ladder", "edit_kind"], sort=False):
        here = part.groupby(list(RUNG))["known"].sum()
        by_case = part.groupby("pair")[["known", "known_everywhere"]].max()
        lines.append({
            "ladder": ladder, "edit_kind": kind, "cases": len(by_case), "known_least": int(here.min()),
            "known_most": int(here.max()), "known_everywhere": int(by_case["known_everywhere"].sum()),
            "known_nowhere": int((~by_case["known"].astype(bool)).sum()),
        })  # fmt: skip
    columns = ["ladder", "edit_kind", "cases", "known_least", "known_most", "known_everywhere", "known_nowhere"]
    return pd.DataFrame(lines, columns=columns)


def format_strata(table: pd.DataFrame, which: str) -> list[str]:
    """The table in words, one line per ladder and edit kind."""
    several = table["ladder"].nunique() > 1
    return [
        f"{line['edit_kind']} edits{', ladder ' + line['ladder'] if several else ''}: {line['cases']} scored "
        f"cases; known at their rung "
        f"{line['known_least']} to {line['known_most']} of them, at every rung {line['known_everywhere']}, at none "
        f"{line['known_nowhere']} (judged here: {which})"
        for line in table.to_dict("records")
    ]  # fmt: skip


def sensitivity(rows: pd.DataFrame, scored: Available, plan: AnalysisPlan) -> dict[tuple[str, str], Verdict | None]:
    """By (ladder, edit kind) the verdict on the cases known at every rung; None where they are fewer than the plan
    needs of that kind.

    Empty where the plan judges those anyway. Its cost is one more scoring of the kinds that have enough.
    """
    if plan.which == PAIRED:
        return {}
    table = strata(scored).set_index(["ladder", "edit_kind"])
    least = [plan.needed(str(kind)) for _, kind in table.index]
    enough = table[table["known_everywhere"] >= least].index
    out: dict[tuple[str, str], Verdict | None] = {(str(ladder), str(kind)): None for ladder, kind in table.index}
    if len(enough):
        kept = [
            frame[pd.MultiIndex.from_frame(frame[["ladder", "edit_kind"]]).isin(enough)]
            for frame in (rows, scored.scores)
        ]
        paired = replace(plan, which=PAIRED)
        out |= shapes(available(kept[0], paired, kept[1]), paired).verdicts
    return out


def format_sensitivity(verdicts: dict[tuple[str, str], Verdict | None], plan: AnalysisPlan) -> list[str]:
    """One line per ladder and edit kind: what the paired cases say, or that they are too few."""
    several = len({ladder for ladder, _ in verdicts}) > 1
    return [
        f"on the cases known at every rung, {kind} edits{', ladder ' + ladder if several else ''}: "
        + (f"fewer than {plan.needed(kind)}, so no verdict" if v is None else v.text)
        for (ladder, kind), v in verdicts.items()
    ]
