"""Prefixes of several lengths."""

from __future__ import annotations

from pathlib import Path

from editing.stats import ModelStatistics
from tests.editing.families import tiny_lm


def test_prefixes_come_in_the_order_of_their_lengths_in_the_call(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    first, second = (
        ModelStatistics(lm, cache=tmp_path, corpus="identity").prefixes(c) for c in ({10: 1, 5: 1}, {5: 1, 10: 1})
    )
    assert second == first[::-1]
