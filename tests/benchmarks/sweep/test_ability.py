"""`bench --lm-eval` edits a model by the cases that its run edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.sweep.ability import GROUP, edited_cases
from benchmarks.sweep.planning.plan import Plan
from benchmarks.sweep.runner import run_bench
from tests.benchmarks.tiny import facts, world
from valley.rows.schema import read_run

pytestmark = pytest.mark.usefixtures("own_cache")


def test_cases_that_a_run_left_out_are_not_edited(tmp_path: Path) -> None:
    """One whose fact the model does not know, and one that is longer than it reads."""
    known = facts()[:2]
    unknown = known[0] | {"subject": "Chile", "target": "Madrid", "old": "Rome"}
    long = known[0] | {"subject": "Peru", "prompt": "word " * 700 + known[0]["prompt"], "paraphrases": []}
    (tmp_path / "facts.json").write_text(json.dumps([*known, unknown, long]))
    plan = Plan(
        world().model, ("ft_l",), ("fact",), 10, 0, datasets=(str(tmp_path / "facts.json"),), sites=("mlp",),
        corpus="identity", settings=(("steps", 1), ("depth", 0.5)), probes=1, known=True,
    )  # fmt: skip
    assert run_bench(plan, tmp_path / "run", "cpu", quiet=True).failed == ()
    rows = read_run(tmp_path / "run", [*GROUP, "case", "edit_norm", "value", "subject"])
    assert rows["case"].nunique() == 4 and set(rows.loc[rows["value"].notna(), "subject"]) == {"France", "Spain"}
    edited = edited_cases(rows)
    assert set(edited) == set(rows[GROUP[2:]].itertuples(index=False, name=None))
    assert all(cases == set(rows.loc[rows["value"].notna(), "case"]) for cases in edited.values())
