"""Aligned text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def format_pairs(pairs: Mapping[str, object]) -> str:
    """`name  value` lines, aligned."""
    width = max(map(len, pairs))
    return "\n".join(f"{key:<{width}}  {format_value(value)}".rstrip() for key, value in pairs.items())


def format_value(value: object) -> str:
    """A number with four decimals or thousands separators; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def short(text: str, width: int, end: bool = False) -> str:
    """At most `width` characters of a text on one line, its beginning or its `end`, with a mark where some are left
    out."""
    line = " ".join(text.split())
    if len(line) <= width:
        return line
    return f"…{line[1 - width :]}" if end else f"{line[: width - 1]}…"


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of cells as lines whose columns are aligned."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
