"""The edits of a run beside retrained models: on rungs too small to learn much (fast), and on a real one (slow)."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks.datasets import build_cases
from benchmarks.grown import RungSpec, grow
from benchmarks.grown.recipe import Recipe
from benchmarks.measure import open_model
from benchmarks.oracle import RungComparison, format_oracle, summary
from cli import cli
from editing.methods import make_method
from tests.valley.build import ladder

SHORT = Recipe(tokens=2_000)


def settings(cases: list[str], method: str, **values) -> dict:
    made = make_method(method, **values)
    return {
        "rung": "short", "rung_index": 0, "model": "", "run_seed": 0, "method": method,
        "settings": json.dumps(made.settings()), "site": "mlp", "lookup": "last", "edit_kind": "fact",
        "dataset": "planned_edits:1", "cases": cases, "cells": ["c"],
    }  # fmt: skip


def test_each_edit_is_compared_with_the_model_of_its_scope():
    spec = RungSpec("gpt2", 1, 32, recipe=SHORT)
    lm = open_model(str(grow(spec, progress=False)), "cpu")
    ids = [case.id for case in build_cases("planned_edits:1", "fact")]
    run = pd.DataFrame([settings(ids[:2], "ft_m", lookup="last", steps=2), settings(ids, "ike")])
    left_out: list[str] = []
    trained: list[str] = []
    one = RungComparison("short", spec, lm, 1, "cpu")
    table = pd.DataFrame(one.records(run, ("one",), "identity", left_out, trained.append))
    assert left_out == []
    assert table.groupby("method").size().to_dict() == {"ft_m": 2, "ike": len(ids)}
    assert trained == ["short: grown:gpt2-1x32@edits1-one", "short: grown:gpt2-1x32-s1@edits1-one"]
    assert (table["floor"] > 0).all()  # the second seed is another model
    assert table["d_base"].nunique() == len(ids)
    lines = summary(table)
    assert lines["edits"].sum() == len(table)
    assert format_oracle(lines).count("\n") == 2


def test_a_run_without_planned_edits_is_refused_in_one_line(tmp_path):
    (tmp_path / "cells").mkdir()
    ladder().to_parquet(tmp_path / "cells" / "all.parquet", index=False)
    result = CliRunner().invoke(cli, ["oracle", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "planned_edits:1" in result.stderr


@pytest.mark.slow
def test_a_learned_edit_is_told_from_placebo_and_from_none(tmp_path):
    """About four minutes: six trainings of gpt2-1x64, edits of one set, both scopes."""
    runner = CliRunner()
    bench = ["bench", "--model", "grown:gpt2-1x64", "--datasets", "planned_edits:1", "--kinds", "fact"]
    bench += ["--methods", "rome,ft_m,placebo", "--sites", "mlp", "--set", "lookup=last", "--corpus", "error:0.5"]
    assert runner.invoke(cli, [*bench, "--out", str(tmp_path)]).exit_code == 0
    result = runner.invoke(cli, ["oracle", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    lines = pd.DataFrame(json.loads(result.stdout)).set_index(["method", "scope"])
    assert (lines["news_oracle"] > 0.7).all()  # the retrained models say the news
    # of what retraining moves; what it leaves, one block can hardly keep, which is in the score too
    assert lines.loc[("ft_m", "both"), "score_moved"] > lines.loc[("placebo", "both"), "score_moved"] + 0.25
    assert lines.loc[("ft_m", "both"), "score"] > lines.loc[("placebo", "both"), "score"]
    one = lines.loc[("ft_m", "one"), "news_other_language_oracle"]
    assert one < lines.loc[("ft_m", "both"), "news_other_language_oracle"] - 0.3  # silence in French shows in French
