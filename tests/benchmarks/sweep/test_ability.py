"""`bench --lm-eval` edits a model by the cases that its run edited."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.sweep.ability import GROUP, edited_cases, measure_ability
from benchmarks.sweep.planning.plan import Plan
from benchmarks.sweep.runner import run_bench
from tests.benchmarks.measure.test_harness import toy_tasks
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


def test_only_what_is_missing_is_measured(tmp_path: Path, monkeypatch) -> None:
    """A further task, another limit and more cases; a group's tasks are not another task's."""
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "facts.json").write_text(json.dumps(facts()[:3]))
    task, group = toy_tasks(tmp_path)
    plan = Plan(
        world().model, ("ft_l",), ("fact",), 2, 0, datasets=(str(tmp_path / "facts.json"),), sites=("mlp",),
        corpus="identity", settings=(("steps", 1), ("depth", 0.5), ("lookup", "subject_last")), probes=1,
    )  # fmt: skip
    run = tmp_path / "run"

    def lines(plan: Plan, *tasks: str, limit: int | None = None) -> list[tuple]:
        assert run_bench(plan, run, "cpu", quiet=True).failed == ()
        table = measure_ability(plan, run, tasks, limit, "cpu")
        return sorted(zip(table["edits"], table["limit"], table["requested"], table["task"], table["n"], strict=True))

    def expected(edits: int, n: int, asked: str, *names: str) -> list[tuple]:
        of_group = {"toy_group": 2 * n}
        return [(edits, "all" if n == 3 else str(n), asked, name, of_group.get(name, n)) for name in names]

    in_group = ("toy_choice", "toy_other", "toy_group")
    first = expected(0, 3, task, "toy_choice") + expected(2, 3, task, "toy_choice")
    assert lines(plan, task) == sorted(first)
    more = first + expected(0, 3, group, *in_group) + expected(2, 3, group, *in_group)
    assert lines(plan, task, group) == sorted(more)
    assert lines(plan, group, task) == sorted(more)
    more += expected(0, 2, task, "toy_choice") + expected(2, 2, task, "toy_choice")
    assert lines(plan, task, limit=2) == sorted(more)
    more += expected(3, 2, task, "toy_choice")
    assert lines(replace(plan, limit=3, extend=True), task, limit=2) == sorted(more)
