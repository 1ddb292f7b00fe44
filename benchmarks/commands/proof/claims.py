"""The claims of the proof: what each part of the page says, in a sentence."""

from __future__ import annotations

from benchmarks.commands.proof.page import counts, number, ordered_readings
from editing.lazy import pandas as pd
from valley.proof import Choice, winner_sentence


def oracle_claim(table: pd.DataFrame) -> str:
    facts = table[(table["edit_kind"] == "fact") & (table["scope"] == "both")].set_index("method").sort_values("score")
    scores = ", ".join(f"{method} {number(line['score'])}" for method, line in facts.iloc[::-1].iterrows())
    return f"Facts beside retraining (0 no edit, 1 as good, both languages): {scores}."


def composites_claim(choice: Choice) -> str:
    return "; ".join(winner_sentence(line) for line in choice.winners.to_dict("records")).capitalize() + "."


def verdicts_claim(lines: pd.DataFrame) -> str:
    right, wrong, undecided = counts(lines)
    named = lines[lines["verdict"].isin(("valley", "hump"))]
    depth = f"; the shallowest one found has a prominence of {number(named['prominence'].min())}" if len(named) else ""
    return (
        f"Of {len(lines)} planted ladders (three with a valley of different depth, a hump, a rise, a flat one) {right} "
        f"got the planted verdict, {wrong} a wrong one, {undecided} none{depth}."
    )


def twins_claim(carried: pd.DataFrame) -> str:
    first, last = carried.iloc[0], carried.iloc[-1]
    return (
        f"The dial of shared names is confirmed by retraining: trained on the news in English alone, "
        f"retrained models say it in French with probability {number(first['retrained'])} at share 0 "
        f"and {number(last['retrained'])} at share 1."
    )


def readings_claim(trends: pd.DataFrame) -> str:
    return f"Of {len(trends)} readings across languages ordered by that dial (Page, Holm): {ordered_readings(trends)}."
