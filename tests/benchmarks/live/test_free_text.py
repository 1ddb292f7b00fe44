"""`edit --rename` prints its answers by free text beside those among the names."""

from __future__ import annotations

from math import nan

import pytest

from benchmarks.live.edit import _summary
from benchmarks.live.edit_text import _renamed_in_text
from tests.benchmarks.commands.test_cli import call
from tests.benchmarks.tiny import world

pytestmark = pytest.mark.usefixtures("own_cache")


def probe(kind: str, value: float, before: float, after: float) -> dict:
    return {"probe": kind, "value": value, "exact_before": before, "exact_after": after}


def test_both_readings_are_of_the_same_questions() -> None:
    """Siblings that the unedited model does not write say nothing, nor do questions without free text."""
    rows = [
        probe("paraphrase", 1.0, 0.0, 1.0), probe("paraphrase", 1.0, 0.0, 0.0), probe("paraphrase", 0.0, nan, nan),
        probe("neighbour", 0.0, 1.0, 1.0), probe("neighbour", 1.0, 0.0, 0.0), {"probe": "drift", "value": 0.9},
    ]  # fmt: skip
    (line,) = _renamed_in_text(_summary(rows))
    assert line.endswith("paraphrase picked 1.00, written 0.50; neighbour picked 0.00, written 1.00")


def test_a_rename_is_printed_with_both() -> None:
    common = ("edit", "--model", world().model, "--device", "cpu", "--corpus", "identity", "--fast", "--set", "steps=2")
    done = call(*common, "--rename", "cheese=fromage", "--method", "rome", "--dose", "1")
    assert "among the names and in free text, on the same questions: paraphrase picked" in done.stdout
