"""The field's scores as text for a terminal: a block per edit kind and data set, two lines per setting: the scores;
then what else distinguishes the setting, and intervals."""

from __future__ import annotations

import json
import textwrap

from editing.lazy import pandas as pd
from valley.rows import LABELS
from valley.scores import PLACE, by_name
from valley.text.curve import SINGLE, WIDTH, WITH_INTERVAL, clean, format_gates, rung_cell, short, weights_line, where

HEADINGS = SINGLE | WITH_INTERVAL | {"bits_en": "+bits en", "bits_fr": "+bits fr"}
NAMES = LABELS | {"bits_en": "more bits per byte of unrelated English text", "bits_fr": "the same in French"}
STRATA = {"known": "known at their rung", "known_everywhere": "known at every rung", "all": "all, known or not"}


def format_scores(table: pd.DataFrame, which: str = "known") -> str:
    """The table of `valley.scores.published` as text; a score that no line has is left out and named below with its
    reason."""
    names = [name for name in table.attrs["scores"] if table[name].notna().any()]
    # Short headings are of our own scores; EasyEdit's "fluency" is another number than ours.
    headings = HEADINGS if "generalisation" in table.attrs["scores"] else {}
    out: list[str] = []
    for key, block in table.groupby(["ladder", "edit_kind", "dataset"], sort=False):
        ladder, kind, dataset = map(str, key)
        out += [
            "",
            f"{LABELS.get(kind, kind)} edits, {clean(dataset)}, ladder {clean(ladder)}",
            *_block(block, names, headings),
        ]
    out.append("")
    gaps: dict[str, list[str]] = {}
    for text in dict.fromkeys(table["gaps"]):
        for name, reason in json.loads(text).items():
            gaps.setdefault(f"n/a ({reason})", []).append(name)
    out += textwrap.wrap(
        f"Cases: {STRATA[which]}. Intervals: 95%, bootstrap of subjects, {table.attrs['draws']} draws.", WIDTH
    )
    legend = [f"{headings[name]} {NAMES[name]}" for name in names if name in headings]
    if "exact" in names:
        legend.append("exact edited prompts and paraphrases freely continued with the answer")
    legend += [table.attrs["legend"]] if "legend" in table.attrs else []
    out += textwrap.wrap("; ".join(legend), WIDTH)
    out += weights_line(table.attrs.get("weights", {}))
    if "metric" in table.attrs:
        out.append(f"score: {table.attrs['metric']} ({by_name(table.attrs['metric']).choice})")
        out += [line for text in format_gates(table) for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]
    for reason, whose in gaps.items():
        out += textwrap.wrap(f"{', '.join(dict.fromkeys(whose))}: {reason}", WIDTH, subsequent_indent="  ")
    return "\n".join(out[1:])


def _block(block: pd.DataFrame, names: list[str], headings: dict[str, str]) -> list[str]:
    """Two lines per setting; scores that do not fit beside the others go into a further block below."""
    rows = [["rung", "setting", "cases", *(headings.get(name, name) for name in names)]]
    columns = [(block[name].tolist(), block[f"{name}_low"].tolist(), block[f"{name}_high"].tolist()) for name in names]
    about = block[["rung", "edit_kind", "method", "site", "lookup", "depth", "n_cases"]].to_dict("records")
    for i, (line, differs) in enumerate(zip(about, varied(block), strict=True)):
        rows.append([rung_cell(line["rung"], 15), short(clean(where(line)), 22), str(line["n_cases"])])
        rows[-1] += [_number(values[i]) for values, _, _ in columns]
        intervals = (_interval(low[i], high[i]) for _, low, high in columns)
        rows.append(["", short(clean(differs), 26), "", *intervals])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    lines = []
    remaining = list(range(3, len(widths)))
    while True:
        fits = [
            n
            for n in range(1, len(remaining) + 1)
            if sum(widths[i] + 1 for i in (0, 1, 2, *remaining[:n])) <= WIDTH + 1
        ]
        shown, remaining = remaining[: max(fits, default=1)], remaining[max(fits, default=1) :]
        for row in rows:
            cells = [row[i].ljust(widths[i]) if i < 2 else row[i].rjust(widths[i]) for i in (0, 1, 2, *shown)]
            lines.append(" ".join(cells).rstrip())
        if not remaining:
            return [line for line in lines if line]


def varied(block: pd.DataFrame) -> list[str]:
    """Per line the settings, besides its place, in which the lines of its method differ: `covariance_weight=100`."""
    settings = [json.loads(text) for text in block["settings"]]
    values: dict[tuple[str, str], set[str]] = {}
    for method, own in zip(block["method"], settings, strict=True):
        for key, value in own.items():
            values.setdefault((method, key), set()).add(json.dumps(value))
    return [
        " ".join(
            f"{key}={value:g}" if isinstance(value, int | float) else f"{key}={value}"
            for key, value in own.items()
            if key not in PLACE and len(values[method, key]) > 1
        )
        for method, own in zip(block["method"], settings, strict=True)
    ]


def _interval(low: float, high: float) -> str:
    return "" if low != low else f"{_number(low)}–{_number(high)}"


def _number(value: float) -> str:
    """Two decimals without a leading zero."""
    if value != value:  # NaN
        return "n/a"
    text = f"{round(value, 2) + 0.0:.2f}"  # -0.00 is 0.00
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
