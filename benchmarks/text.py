"""Aligned text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def format_pairs(pairs: Mapping[str, object]) -> str:
    """`name  value` lines, aligned."""
    width = max(map(len, pairs))
    return "\n".join(f"{key:<{width}}  {_number(value)}" for key, value in pairs.items())


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
