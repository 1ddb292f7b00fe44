"""The report's tables of the curve: cells ready to print."""

from __future__ import annotations

import json

from editing.lazy import pandas as pd
from valley.rows import METRICS
from valley.text import blocks, number, where

HEAD = ("score", "generalisation", "specificity")


def curve_tables(curve: pd.DataFrame) -> list[dict]:
    """Per ladder and edit kind: `ladder`, `kind`, `metrics` (the measured ones) and `lines`."""
    tables = []
    for ladder, kind, block in blocks(curve):
        metrics = [m for m in (*HEAD, *(m for m in METRICS if m not in HEAD)) if block[m].notna().any()]
        lines = [_line(line, metrics) for line in block.to_dict("records")]
        tables.append({"ladder": ladder, "kind": kind, "metrics": metrics, "lines": lines})
    return tables


def _line(line: dict, metrics: list[str]) -> dict:
    gaps = json.loads(line["gaps"])
    cells = []
    for metric in metrics:
        low, high = line[f"{metric}_low"], line[f"{metric}_high"]
        missing = pd.isna(line[metric])
        cells.append({
            "value": "n/a" if missing else number(line[metric]),
            "range": "" if missing or pd.isna(low) else f"{number(low)}–{number(high)}",
            "reason": gaps.get(metric, "not measured") if missing else "",
        })  # fmt: skip
    parameters, bits = line["parameters"], line["bits_per_byte_en"]
    return {
        "rung": line["rung"], "reason": line["reason"], "cells": cells, "where": where(line),
        "bits": "n/a" if pd.isna(bits) else f"{bits:.2f}",
        "parameters": "n/a" if pd.isna(parameters) else _compact(parameters),
        "known": f"{line['n_known']} of {line['n_cases']}", "n_errors": line["n_errors"],
        "chosen": f"{line['chosen_on'] or '-'} / {line['scored_on'] or '-'}",
    }  # fmt: skip


def _compact(n: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return f"{n:.0f}"
