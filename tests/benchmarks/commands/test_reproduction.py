"""The command that a report prints makes the plan of its run; of a run by a plan file, with the plan file beside it."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.commands.bench import bench, plan_of
from benchmarks.plans import plan_names
from benchmarks.sweep import Plan, PlanFile, load_plan, overridden
from valley.report.provenance import commands
from valley.rows import plan_files
from valley.rows.plan_toml import SAME
from valley.scores import AnalysisPlan

USUAL = Plan("demo", ("rome", "memit"), ("fact", "rename"), 7, 3)
UNUSUAL = Plan(
    "grown-quick", ("rome",), ("fact",), 5, 1, ("world_facts",), ("mlp", "attn"), "samples:500",
    (("steps", 6), ("precision", "auto"), ("depth", 0.25)), 2, known=True, doses=(0.5, 2.0), extend=True,
    more_probes=("negation", "decay"), chat="<{{ messages[0]['content'] }}>\n",
)  # fmt: skip


@pytest.mark.parametrize("plan", [USUAL, UNUSUAL])
def test_the_printed_command_makes_the_plan_of_the_run(plan: Plan) -> None:
    questions = json.loads(json.dumps(asdict(plan)))
    words = shlex.split(
        commands(
            {"asked": [questions]}, "results/my run", {"min_known": 2, "which": "known", "metric": "harmonic_mean"}
        )[0]
    )
    assert words[:3] == ["python", "cli.py", "bench"]
    context = bench.make_context("bench", words[3:])
    flags = context.params
    made = plan_of(context, flags)
    assert made == plan and made.hash == plan.hash and flags["out"] == Path("results/my run")


FLAGS = (
    {},
    {"limit": 3, "seed": 4, "known": True, "fast": True, "doses": (0.5, 2.0), "chat": "<{{ messages }}>"},
    {
        "methods": ("rome",),
        "kinds": ("fact",),
        "settings": (("steps", 6),),
        "sites": ("mlp",),
        "more_probes": ("decay",),
    },
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


def test_a_request_again_with_other_minutes_is_one_plan_file_and_one_command() -> None:
    request = json.loads(json.dumps(asdict(load_plan("quick"))))
    again, other = request | {"budget": 0.5}, request | {"seeds": [1]}
    about = {"asked": [request, again, other, again], "search_rule": 2}
    assert list(plan_files(about)) == ["plan.toml", "plan-2.toml"]
    *benches, _ = commands(about, "results/run", asdict(AnalysisPlan()))
    assert [line.split()[3] for line in benches] == ["results/run/plan.toml", "results/run/plan-2.toml"]


def test_every_key_of_a_plan_file_is_written() -> None:
    """A key that comes later and changes what is run has to be in the plan file of a run too."""
    apart = {"name", "limit", "edits", "methods", "controls", "fast", "split", "analysis", "search_rule"}
    assert set(PlanFile.model_fields) - apart == set(SAME)


def test_the_head_of_a_file_is_another_run_than_a_sample_of_it() -> None:
    one, head = (
        replace(USUAL, datasets=("world_facts", name)) for name in ("fact_file:x.json", "fact_file:x.json#head")
    )
    assert one.hash == USUAL.hash != head.hash and head.fixed()["heads"] == ["fact_file:x.json#head"]
