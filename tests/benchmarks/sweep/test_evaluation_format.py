"""A sweep whose questions are evaluated on a bfloat16 copy: the same edits, close answers, cells of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measure import half_agreement, open_model
from benchmarks.sweep.planning.plan import Edits, Plan
from benchmarks.sweep.planning.plan_file import load_plan
from benchmarks.sweep.runner import run_bench
from editing.errors import BadRequest
from editing.model.language_model import hash_weights
from tests.benchmarks.tiny import world
from valley.rows.schema import read_run

pytestmark = pytest.mark.usefixtures("own_cache")


def test_questions_in_bfloat16_are_close_and_the_edits_the_same(tmp_path: Path) -> None:
    tiny = world()
    axes = (("rome", (("lookup", ("last",)), ("site", ("mlp",)), ("steps", (6,)), ("clamp", (0.5,)))),)
    plan = Plan(
        tiny.write_ladder("two", two=tiny.model), ("rome",), ("fact",), 4, 0, corpus="samples:500", axes=axes,
        edits=(Edits("fact", f"fact_file:{tiny.facts}", 4),), doses=(0.5, 1.0), probes=1,
    )  # fmt: skip
    half = replace(plan, evaluation="bfloat16")
    assert "evaluation" not in plan.fixed() and half.hash != plan.hash
    assert run_bench(plan, tmp_path / "own", "cpu", quiet=True).failed == ()
    assert run_bench(half, tmp_path / "half", "cpu", quiet=True).failed == ()
    own, other = (read_run(tmp_path / name, doses=True) for name in ("own", "half"))
    key = ["case", "probe_index", "dose", "settings"]
    own, other = own.sort_values(key), other.sort_values(key)
    assert set(own["cell"]).isdisjoint(other["cell"])
    assert own["edit_norm"].tolist() == other["edit_norm"].tolist(), "the same edits"
    both = own["margin_after"].notna().to_numpy()
    moved = np.abs(own["margin_after"].to_numpy()[both] - other["margin_after"].to_numpy()[both])
    assert 0 < np.median(moved) < 0.1 and moved.max() < 1
    drift = (own["probe"] == "drift").to_numpy()
    assert np.allclose(own["value"].to_numpy()[drift], other["value"].to_numpy()[drift], atol=0.02)
    about = json.loads((tmp_path / "half" / "run.json").read_text("utf-8"))
    (agreement,) = about["agreement"].values()
    assert agreement["same"] <= agreement["questions"] and 0 < agreement["typical"] <= agreement["largest"]
    assert run_bench(half, tmp_path / "half", "cpu", quiet=True).ran == 0


def test_the_agreement_is_measured_once_and_leaves_the_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = open_model(world().model, "cpu")
    first = half_agreement(lm)
    monkeypatch.setattr("benchmarks.measure.known_facts.choice_priors", lambda *_: pytest.fail("asked again"))
    assert half_agreement(lm) == first and hash_weights(lm.module) == lm.weight_hash
    assert f"{first.same} of {first.questions} unedited answers" in first.line()


def test_a_plan_states_the_format_or_leaves_it(tmp_path: Path) -> None:
    text = 'ladder = "demo"\n[[edits]]\nkind = "fact"\ndataset = "world_facts"\n[methods.rome]\n'
    (tmp_path / "half.toml").write_text(f'evaluation = "bfloat16"\n{text}', "utf-8")
    (tmp_path / "own.toml").write_text(text, "utf-8")
    assert (
        load_plan(tmp_path / "half.toml").evaluation == "bfloat16"
        and load_plan(tmp_path / "own.toml").evaluation is None
    )
    with pytest.raises(BadRequest, match="unknown evaluation 'int8'; use bfloat16"):
        replace(load_plan(tmp_path / "own.toml"), evaluation="int8")
