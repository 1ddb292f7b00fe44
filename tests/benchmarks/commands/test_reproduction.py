"""The command that a report prints makes the plan of its run; of a run by a plan file, with the plan file beside it."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.commands.bench import bench, plan_of_flags
from benchmarks.commands.options import setting
from benchmarks.plans import plan_names
from benchmarks.sweep import Plan, load_plan, overridden
from valley.report.provenance import commands
from valley.rows import plan_files

USUAL = Plan("demo", ("rome", "memit"), ("fact", "rename"), 7, 3)
UNUSUAL = Plan(
    "grown-quick", ("rome",), ("fact",), 5, 1, ("world_facts",), ("mlp", "attn"), "samples:500",
    (("steps", 6), ("precision", "auto"), ("depth", 0.25)), 2, known=True, doses=(0.5, 2.0), extend=True,
)  # fmt: skip


@pytest.mark.parametrize("plan", [USUAL, UNUSUAL])
def test_the_printed_command_makes_the_plan_of_the_run(plan: Plan) -> None:
    questions = json.loads(json.dumps(asdict(plan)))
    words = shlex.split(commands({"asked": [questions]}, "results/my run", {"min_known": 2})[0])
    assert words[:3] == ["python", "cli.py", "bench"]
    flags = bench.make_context("bench", words[3:]).params
    flags["settings"] = dict(map(setting, flags["settings"]))
    made = plan_of_flags(flags)
    assert made == plan and made.hash == plan.hash and flags["out"] == Path("results/my run")


FLAGS = (
    {},
    {"limit": 3, "seed": 4, "known": True, "fast": True, "doses": (0.5, 2.0)},
    {"methods": ("rome",), "kinds": ("fact",), "settings": (("steps", 6),), "sites": ("mlp",), "corpus": "samples:500"},
)


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("name", plan_names())
def test_the_plan_file_of_a_run_is_its_plan_with_what_flags_changed(name: str, flags: dict, tmp_path: Path) -> None:
    plan = overridden(load_plan(name), flags)
    about = {"asked": [json.loads(json.dumps(asdict(plan)))], "search_rule": 2}
    (text,) = plan_files(about).values()
    (tmp_path / "plan.toml").write_text(text)
    made = load_plan(tmp_path / "plan.toml")
    assert made.fixed() == plan.fixed() and made.hash == plan.hash and made.title == plan.title
