"""The curve as text for a terminal of 100 to 120 columns: one block per edit kind, one line per rung, footnotes."""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from editing.lazy import pandas as pd
from valley.rows import ALL, ALL_DEV, CONTROLS, GATES, LABELS, NET
from valley.scores import CONCEPTS, by_name

# column -> heading; those nowhere measured are left out.
SINGLE = {
    "efficacy": "effi", "paraphrase": "para", "cross_lingual": "xlng", NET: "xnet", "alias": "alia",
    "relation": "rela", "multi_hop": "hop", "neighbour": "neig", "same_subject": "same", "neighbour_plus": "nei+",
    "drift": "drif", "fluency": "flue", "ability": "abil", "negation": "nega", "verification": "veri",
    "reversed": "rev", "challenge": "chal", "long_form": "long", "decay": "deca",
}  # fmt: skip
WITH_INTERVAL = {"generalisation": "general.", "specificity": "specific.", "score": "score"}
SPARE = (
    "long_form",
    "reversed",
    "challenge",
    "decay",
    "ability",
    "fluency",
    "neighbour_plus",
    "multi_hop",
    "alias",
    "relation",
    NET,
)  # left out first
WIDTH = 120


def number(value: float) -> str:
    """Two decimals in at most three characters below one: .07, .83, 1.0; a value that only rounds to one is >.99."""
    if value >= 1:
        return "1.0"
    text = f"{value:.2f}"
    return ">.99" if text == "1.00" else text.removeprefix("0")


def clean(text: object) -> str:
    """`text` on one line, control and bidirectional characters made visible or dropped."""
    if (line := str(text)).isprintable():
        return line
    out = []
    for char in line:
        if char in "\n\r\t":
            out.append(" ")
        elif ord(char) < 32:
            out.append(chr(0x2400 + ord(char)))
        else:
            out.append("\ufffd" if unicodedata.category(char) in ("Cc", "Cf", "Cs") else char)
    return "".join(out)


def short(text: str, width: int, end: bool = False) -> str:
    """At most `width` characters of a text, its beginning or its `end`, with a mark where some are left out."""
    if len(text) <= width:
        return text
    return f"…{text[1 - width :]}" if end else f"{text[: width - 1]}…"


def rung_cell(name: str, width: int) -> str:
    """The name of a rung in at most `width` characters; paths differ at their ends."""
    return short(clean(name), width, end="/" in name)


def where(line: dict) -> str:
    """The chosen setting in a word: method, site, position and depth."""
    if not line["method"]:
        return "-"
    if line["edit_kind"] == ALL:
        return line["method"]
    lookup = {"subject_last": "subj", "last": "last"}.get(line["lookup"], line["lookup"])
    depth = "" if pd.isna(line["depth"]) else f"{line['depth']:.2f}".removeprefix("0")
    place = " ".join(part for part in (line["site"], lookup, depth) if part)
    return f"{line['method']} {place}" if place else line["method"]


def format_table(table: pd.DataFrame) -> str:
    """The table of `valley.scores.curve.curve` as text; NaN is `n/a` with a numbered footnote giving the reason."""
    notes: dict[str, int] = {}
    out = []
    for ladder, kind, block in blocks(table):
        out += ["", _title(clean(ladder), kind), *_block(block, notes)]
    out += _footer(table, notes)
    return "\n".join(out[1:])


def blocks(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(ladder, edit kind, its lines of the curve); "all" only where there are several kinds."""
    kinds = list(dict.fromkeys(table["edit_kind"]))
    if len(kinds) == 2:  # one edit kind: its own block says all
        kinds = [k for k in kinds if k != ALL]
    for ladder in dict.fromkeys(table["ladder"]):
        for kind in kinds:
            block = table[(table["ladder"] == ladder) & (table["edit_kind"] == kind)]
            if len(block):
                yield ladder, kind, block


def _title(ladder: str, kind: str) -> str:
    what = "all edit kinds (mean over kinds, each at its own best setting)" if kind == ALL else f"{kind} edits"
    return f"{what}, ladder {ladder}" if ladder else what


def _block(block: pd.DataFrame, notes: dict[str, int]) -> list[str]:
    """The block's lines; scores in SPARE are left out, first to last, until it fits the width."""
    singles = [m for m in SINGLE if block[m].notna().any()]
    for metric in (None, *SPARE):
        singles = [m for m in singles if m != metric]
        trial = dict(notes)
        lines = _layout(block, singles, trial)
        if max(map(len, lines)) <= WIDTH:
            break
    notes.update(trial)
    return lines


def _layout(block: pd.DataFrame, singles: list[str], notes: dict[str, int]) -> list[str]:
    head = [
        "rung",
        "bits/B",
        "best setting",
        "known",
        *(SINGLE[m] for m in singles),
        *WITH_INTERVAL.values(),
    ]
    lines, tails = [], []
    for line in block.to_dict("records"):
        gaps = json.loads(line["gaps"])
        bpb = line["bits_per_byte_en"]
        cells = [rung_cell(line["rung"], 15), "n/a" if pd.isna(bpb) else f"{bpb:.2f}",
                 short(clean(where(line)), 22), f"{line['n_known']}/{line['n_cases']}"]  # fmt: skip
        tails.append(f"n/a ({clean(line['reason'])})" if line["reason"] else "")
        for metric in () if line["reason"] else (*singles, *WITH_INTERVAL):
            if pd.isna(line[metric]):
                cells.append(_missing(gaps.get(metric, "not measured"), notes))
            elif metric in singles or pd.isna(line[f"{metric}_low"]):
                cells.append(number(line[metric]))
            else:
                low, high = number(line[f"{metric}_low"]), number(line[f"{metric}_high"])
                cells.append(f"{number(line[metric])} {low}–{high}")
        lines.append(cells + [""] * (len(head) - len(cells)))
    widths = [max(len(row[i]) for row in (head, *lines)) for i in range(len(head))]
    left_aligned = {0, 2, *range(4 + len(singles), len(head))}
    pad = [str.ljust if i in left_aligned else str.rjust for i in range(len(head))]
    out = []
    for row, tail in zip((head, ["-" * w for w in widths], *lines), ("", "", *tails), strict=True):
        cells = [p(cell, w) for p, cell, w in zip(pad, row, widths, strict=True)]
        text = " ".join([*cells[:4], tail] if tail else cells).rstrip()
        if tail and len(text) > WIDTH:
            room = WIDTH - len(" ".join(cells[:4])) - 5
            mark = _missing(tail[len("n/a (") : -1], notes).removeprefix("n/a")
            text = " ".join([*cells[:4], f"{short(tail, room)} {mark}"])
        out.append(text)
    return out


def _missing(reason: str, notes: dict[str, int]) -> str:
    number = notes.setdefault(clean(reason), len(notes) + 1)
    return f"n/a{_raised(number)}"


def _raised(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _footer(table: pd.DataFrame, notes: dict[str, int]) -> list[str]:
    out = [""]
    for reason, n in notes.items():
        out += textwrap.wrap(f"{_raised(n)} n/a ({short(reason, 400)})", WIDTH, subsequent_indent="  ")
    shown = [f"{head} {LABELS[m]}" for m, head in SINGLE.items() if table[m].notna().any()]
    legend = ["bits/B bits per byte EN (less is stronger)", "known: known cases of those scored", *shown]
    out += textwrap.wrap("; ".join(legend), WIDTH)
    out += weights_line(table.attrs.get("weights", {}))
    options = table.attrs
    if options:
        only = "" if options.get("which") == "known" else f" Cases: {options.get('which')}."
        draws = f"95% intervals from {options.get('draws')} bootstrap draws of relations, Student's t"
        least = options.get("min_known")
        assert least is not None
        out.append(f"{draws}; at least {least} known facts needed, {min(least, CONCEPTS)} of other kinds.{only}")
    for name in sorted(set(table["metric"])):
        out += textwrap.wrap(f"Score: {name} ({by_name(name).choice}).", WIDTH, subsequent_indent="  ")
    scored = sorted(set(table.loc[table["scored_on"] != "", "scored_on"]))
    splits = {
        "test": "settings chosen on dev cases without placebo, scored on test cases",
        "all": "one setting, scored on all cases",
    }
    out += [f"Scores: {splits.get(name, name)}." for name in scored if name in splits]
    for line in table[table["chosen_on"] == ALL_DEV].to_dict("records"):
        out.append(f"{line['rung']}, {line['edit_kind']}: no known dev case; the setting is chosen on {ALL_DEV}.")
    for kind, names in unlike_kinds(table).items():
        out.append(f"Caution, {kind}: not every rung could measure {names}; means over kinds are not quite alike.")
    out += [line for text in format_gates(table) for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]
    errors = int(table.loc[table["edit_kind"] == ALL, "n_errors"].sum())
    if errors:
        out.append(f"{errors} failed cells or cases are not in these numbers; the report lists them.")
    return out


def weights_line(weights: Mapping[str, str]) -> list[str]:
    """How the rungs' weights were tuned and packed, where their source says so."""
    if not weights:
        return []
    text = "; ".join(f"{clean(rung)}: {note}" for rung, note in weights.items())
    return textwrap.wrap(f"Weights: {text}; all others as published, or trained here.", WIDTH)


SCORED = 3  # failing lines that are named


def format_gates(table: pd.DataFrame) -> list[str]:
    """The gates with their thresholds, and the lines of a curve or of `scores` whose setting fails some."""
    limits = ", ".join(f"{LABELS[kind]} {least:g}" for kind, least in GATES.items())
    out = [f"Gates: {limits} at least (efficacy above placebo where one ran); a setting that fails one scores 0."]
    failed = []
    edits = table.loc[table["edit_kind"] != ALL, ["rung", "edit_kind", "method", "gates"]]
    for line in edits[edits["gates"] != "{}"].to_dict("records"):
        values = failed_gates_of(line)
        if values:
            failed.append(f"{clean(line['rung'])}, {line['edit_kind']} by {clean(line['method'])} ({values})")
    if failed:
        more = f" and {len(failed) - SCORED} more" if len(failed) > SCORED else ""
        out.append(f"Fails a gate: {'; '.join(failed[:SCORED])}{more}.")
    elif len(table):
        out[0] += " None fails."
    return out


def failed_gates_of(line: Mapping[Any, Any]) -> str:
    """The gates that a line of a curve or of `scores` fails, with the values; "" where none, or of a control."""
    gates = json.loads(line["gates"]) if line["method"] not in CONTROLS else {}
    return ", ".join(f"{LABELS[kind]} {number(value)}" for kind, value in gates.items())


def unlike_kinds(table: pd.DataFrame) -> dict[str, str]:
    """Edit kinds whose rungs did not all measure the same probe kinds -> the names of those that differ."""
    out = {}
    for kind in dict.fromkeys(table["edit_kind"]):
        block = table[(table["edit_kind"] == kind) & (table["reason"] == "")]
        sets = [set(text.split("+")) for text in block["kinds"]] if kind != ALL else []
        partial = set.union(*sets) - set.intersection(*sets) if sets else set()
        if partial:
            out[kind] = ", ".join(sorted(LABELS[k] for k in partial if k))
    return out
