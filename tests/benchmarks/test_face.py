"""`import benchmarks`: a plan run from Python, as the package's docstring shows."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmarks
from tests.benchmarks.tiny import world

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_plan_runs_from_python(tmp_path: Path) -> None:
    tiny = world()
    plan = benchmarks.Plan(
        ladder=str(tiny.ladder),
        methods=("embedding",),
        kinds=("fact",),
        limit=2,
        seed=0,
        datasets=(f"fact_file:{tiny.facts}",),
        corpus="identity",
        probes=1,
    )
    outcome = benchmarks.run_plan(plan, tmp_path / "run", device="cpu", quiet=True)
    assert outcome.ran == outcome.cells > 0 and not outcome.failed
    assert benchmarks.run_plan(plan, tmp_path / "run", device="cpu", quiet=True).ran == 0
    assert benchmarks.load_ladder(str(tiny.ladder)).rungs and benchmarks.load_plan("quick").title


def test_the_face_names_what_it_has() -> None:
    assert set(benchmarks.__all__) == set(dir(benchmarks))
    assert all(getattr(benchmarks, name) is not None for name in benchmarks.__all__)
    with pytest.raises(AttributeError, match="no attribute"):
        benchmarks.nothing  # noqa: B018
