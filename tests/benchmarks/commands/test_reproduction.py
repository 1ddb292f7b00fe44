"""The command that a report prints makes the plan of its run."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.commands.bench import bench, plan_of_flags
from benchmarks.commands.options import setting
from benchmarks.sweep import Plan
from valley.report.provenance import commands

USUAL = Plan("demo", ("rome", "memit"), ("fact", "rename"), 7, 3)
UNUSUAL = Plan(
    "grown-quick", ("rome",), ("fact",), 5, 1, ("world_facts",), ("mlp", "attn"), "samples:500",
    (("steps", 6), ("precision", "auto"), ("depth", 0.25)), 2, known=True, doses=(0.5, 2.0), extend=True,
)  # fmt: skip


@pytest.mark.parametrize("plan", [USUAL, UNUSUAL])
def test_the_printed_command_makes_the_plan_of_the_run(plan: Plan) -> None:
    asked = json.loads(json.dumps(asdict(plan)))
    words = shlex.split(commands({"asked": [asked]}, "results/my run", {"min_known": 2})[0])
    assert words[:3] == ["python", "cli.py", "bench"]
    flags = bench.make_context("bench", words[3:]).params
    flags["settings"] = dict(map(setting, flags["settings"]))
    made = plan_of_flags(flags)
    assert made == plan and made.hash == plan.hash and flags["out"] == Path("results/my run")
