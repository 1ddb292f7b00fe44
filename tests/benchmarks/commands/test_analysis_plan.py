"""The sweep stores the analysis plan before the first cell, and what is judged otherwise says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.commands.test_cli import call, refused
from tests.benchmarks.tiny import World, world

pytestmark = pytest.mark.usefixtures("own_cache")
FILE = "analysis_plan.json"


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


@pytest.fixture(scope="module")
def ladder(tiny: World) -> str:
    return tiny.write_ladder("planned", two=tiny.model)


def arguments(tiny: World, ladder: str, out: Path, *more: object) -> tuple[object, ...]:
    kinds = ("--methods", "rome", "--kinds", "fact", "--sites", "mlp", "--limit", "2", "--set", "steps=2")
    data = ("--datasets", f"fact_file:{tiny.facts}", "--corpus", "samples:500", "--device", "cpu", "--out", out)
    return ("bench", "--ladder", ladder, *kinds, *data, *more)


def test_the_sweep_stores_the_plan_once(tiny: World, ladder: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = refused(*arguments(tiny, ladder, run, "--metric", "fame"))
    assert "fame" in line and not run.exists()
    done = call(*arguments(tiny, ladder, run, "--min-known", "1"))
    assert done.exit_code == 0, done.output
    text = (run / FILE).read_text()
    kept = json.loads(text)["plan"]
    assert (kept["min_known"], kept["which"]) == (1, "known")
    first_cell = min(file.stat().st_mtime_ns for file in (run / "cells").glob("*.parquet"))
    assert (run / FILE).stat().st_mtime_ns < first_cell
    assert call(*arguments(tiny, ladder, run)).exit_code == 0  # goes on; nothing else is stated
    line = refused(*arguments(tiny, ladder, run, "--min-known", "3"))
    assert "min_known 3, not 1" in line
    assert (run / FILE).read_text() == text


def test_a_plan_file_states_how_the_run_is_judged_and_other_judgements_say_so(
    tiny: World, ladder: str, tmp_path: Path
) -> None:
    plan, run = tmp_path / "plan.toml", tmp_path / "run"
    text = f"""
        ladder = "{ladder}"
        corpus = "samples:500"
        search = "grid"
        edits = [{{ kind = "fact", dataset = "fact_file:{tiny.facts}", limit = 2 }}]
        [methods.rome]
        site = "mlp"
        lookup = "last"
        steps = 2
        [analysis]
        """
    plan.write_text(text + "min_knwon = 2")
    assert "min_knwon" in refused("bench", plan, "--out", run)
    plan.write_text(text + "min_known = 1\ndraws = 50\nbootstrap = 50")
    assert call("bench", plan, "--out", run, "--device", "cpu").exit_code == 0
    kept = json.loads((run / FILE).read_text())["plan"]
    assert (kept["min_known"], kept["draws"]) == (1, 50)
    cautions = [line for line in call("curve", run, "--min-known", "1").output.splitlines() if "Caution" in line]
    assert sum("the run has no placebo edits" in line for line in cautions) == 1, cautions
    for command in (("curve", run), ("shape", run), ("hypotheses", run), ("editability", run)):
        assert "min_known 2, not 1" in call(*command, "--min-known", "2").output, command
    assert "min_known 2, not 1" in call("compare", run, run, "--stratum", "all", "--min-known", "2").output


def test_a_negative_seed_of_the_analysis_is_refused_before_any_cell(tmp_path: Path) -> None:
    plan, run = tmp_path / "plan.toml", tmp_path / "run"
    plan.write_text('analysis = { seed = -1 }\nladder = "demo"\n[[edits]]\nkind = "fact"\n[methods.rome]\n')
    assert "seed: must be greater than or equal to 0, is int -1" in refused("bench", plan, "--out", run)
    assert not run.exists()
