"""A file of one's own concepts from end to end: a sweep of renames and facts, and crispness layer by layer."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.benchmarks.commands.test_cli import call, refused
from tests.benchmarks.tiny import world
from tests.benchmarks.world.test_own_concepts import CELLO
from valley.rows import read_run

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def concepts(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(CELLO, encoding="utf-8")
    return path


def test_a_sweep_edits_own_concepts(concepts: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--methods", "embedding", "--kinds", "rename,fact", "--limit", 1, "--probes", 1, "--corpus", "identity")
    sweep = ("bench", "--model", world().folder / "one", *options, "--device", "cpu", "--out", out)
    done = call(*sweep, "--concepts", concepts, "--json")
    assert done.exit_code == 0, done.output
    rows = read_run(out)
    assert set(rows["dataset"]) == {f"concept_suite:{concepts}"} and rows["error"].eq("").all()
    assert rows.loc[rows["edit_kind"] == "rename", "case"].unique().tolist() == ["rename:violoncello"]
    assert set(rows.loc[rows["edit_kind"] == "fact", "subject"]) == {"violoncello"}
    concepts.write_text(CELLO.replace("brown", "black"), encoding="utf-8")
    assert "concepts" in refused(*sweep, "--concepts", concepts), "another content is another run"
    assert json.loads((out / "run.json").read_text())["plan"]["concepts"]


def test_crispness_of_own_concepts(concepts: Path, tmp_path: Path) -> None:
    options = ("--corpus", "identity", "--device", "cpu", "--out", tmp_path / "out")
    done = call("ladder", "crispness", world().folder / "one", "--concepts", concepts, *options, "--json")
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "out" / "crispness.csv")
    assert set(table["concept"]) == {"violoncello"} and {"C_key", "C_align"} <= set(table["measure"])
    outcome = json.loads(done.stdout)
    assert {row["concept"] for row in outcome["summary"]} == {"violoncello"}
    assert {"none", "untrained", "random", "shuffled"} <= set(outcome["summary"][0])
    assert all(Path(file).is_file() for file in outcome["files"])
