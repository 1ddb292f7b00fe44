"""A curve in words and as one short table: for a reader who looks at a run for the first time.

Every name and number comes from the table of `valley.scores.curve.curve`.
"""

from __future__ import annotations

import textwrap

from editing.lazy import pandas as pd
from valley.rows import ALL
from valley.text.curve import WIDTH, clean, failed_gates_of, number, rung_cell, short

SUMMARIES = ("generalisation", "specificity", "score")
REASONS = 3  # at most so many different reasons are listed


def summary(table: pd.DataFrame) -> list[str]:
    """Two or three sentences: where edits work best, whether generalisation and specificity differ, what is not
    measurable.

    Args:
        table: of `valley.scores.curve.curve`; all its ladders are taken together.
    """
    lines = table[table["edit_kind"] != ALL]
    measured = lines[lines["score"].notna()]
    return [*_best(measured), *_balance(measured), *_unmeasured(lines)]


def _best(measured: pd.DataFrame) -> list[str]:
    """Per edit kind the model with the highest score, and whether the intervals tell it from the lowest."""
    if measured.empty:
        return ["No edit kind could be measured on any model."]
    parts = []
    for kind in dict.fromkeys(measured["edit_kind"]):
        lines = measured[measured["edit_kind"] == kind]
        best = lines.loc[lines["score"].idxmax()]
        low, high = number(best["score_low"]), number(best["score_high"])
        text = f"{kind} edits on {clean(best['rung'])} by {clean(best['method'])} ({number(best['score'])}"
        text += f", 95% interval {low}–{high}" if pd.notna(best["score_low"]) else ""
        worst = lines.loc[lines["score"].idxmin()]
        if len(lines) > 1:
            gates = failed_gates_of(worst.to_dict())
            apart = "a clear difference" if worst["score_high"] < best["score_low"] else "within the intervals"
            lowest = f"lowest {clean(worst['rung'])} {number(worst['score'])}"
            text += f"; {lowest}, {f'as it fails a gate: {gates}' if gates else apart}"
        parts.append(f"{text})")
    return [f"Highest score: {'; '.join(parts)}."]


def _balance(measured: pd.DataFrame) -> list[str]:
    """In how many lines the intervals of generalisation and specificity do not overlap, and which of the two is
    higher."""
    if measured.empty:
        return []
    means = {name: number(measured[name].mean()) for name in SUMMARIES}
    higher = int((measured["specificity_low"] > measured["generalisation_high"]).sum())
    lower = int((measured["specificity_high"] < measured["generalisation_low"]).sum())
    count = f"{len(measured)} measured pairs of model and edit kind"
    if not higher and not lower:
        verdict = f"do not differ beyond their intervals in any of the {count}"
    else:
        verdict = f"differ in {higher + lower} of {count}: specificity is higher in {higher}, lower in {lower}"
    return [f"Generalisation (mean {means['generalisation']}) and specificity (mean {means['specificity']}) {verdict}."]


def _unmeasured(lines: pd.DataFrame) -> list[str]:
    """Which pairs of model and edit kind have no score, and why."""
    missing = lines[lines["score"].isna()]
    if missing.empty:
        return []
    reasons: dict[str, list[str]] = {}
    for line in missing.to_dict("records"):
        why = short(clean(line["reason"] or "no probe of one side could be measured"), 120)
        reasons.setdefault(why, []).append(f"{line['edit_kind']} edits on {clean(line['rung'])}")
    listed = [f"{', '.join(places)} ({why})" for why, places in list(reasons.items())[:REASONS]]
    more = f"; and {len(reasons) - REASONS} more reasons" if len(reasons) > REASONS else ""
    return [f"Not measurable: {'; '.join(listed)}{more}."]


def format_summary(table: pd.DataFrame) -> str:
    """`summary` as text for a terminal, a paragraph per sentence."""
    return "\n".join(line for text in summary(table) for line in textwrap.wrap(text, WIDTH, subsequent_indent="  "))


def format_brief(table: pd.DataFrame) -> str:
    """One line per model and edit kind: known cases, method, generalisation, specificity, score with its interval, or
    with the gate for which it is 0."""
    head = ["edits", "model", "method", "known", "general.", "specific.", "score"]
    rows = [head]
    for line in table[table["edit_kind"] != ALL].to_dict("records"):
        row = [line["edit_kind"], rung_cell(line["rung"], 24), short(clean(line["method"] or "-"), 20)]
        row.append(f"{line['n_known']}/{line['n_cases']}")
        for name in SUMMARIES:
            row.append("n/a" if pd.isna(line[name]) else number(line[name]))
        gates = failed_gates_of(line)
        if gates:
            row[-1] += f" fails a gate: {gates}"
        elif pd.notna(line["score_low"]):
            row[-1] += f" {number(line['score_low'])}–{number(line['score_high'])}"
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
