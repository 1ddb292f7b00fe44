"""`reproduce`: a saved change and a packed run of somebody else are made again and compared; the run is on a board."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from editing.delta import Delta
from tests.benchmarks.commands.test_cli import call, refused
from tests.benchmarks.tiny import facts, world
from valley.rows import read_run

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_saved_change_is_made_again_bit_for_bit(tmp_path: Path) -> None:
    for name, record in zip(("one", "two"), facts(), strict=False):
        (tmp_path / f"{name}.json").write_text(json.dumps([record]))
    usual = ("edit", "--model", world().model, "--corpus", "identity", "--fast")
    call(*usual, "--fact", tmp_path / "one.json", "--dose", "0.75", "--save", tmp_path / "first")
    call(*usual, "--fact", tmp_path / "two.json", "--add", tmp_path / "first", "--save", tmp_path / "both")
    for name in ("first", "both"):
        done = call("reproduce", tmp_path / name)
        assert done.exit_code == 0 and "bit for bit" in done.output, done.output
    said = refused("reproduce", tmp_path / "first", "--model", world().folder / "one")
    assert "name its model with --model" in said

    saved = Delta.load(tmp_path / "first")
    (0.5 * Delta(saved.factors)).save(tmp_path / "unknown")
    assert "does not say how it was made" in refused("reproduce", tmp_path / "unknown")
    weaker = 0.5 * Delta(saved.factors)
    Delta(weaker.factors, saved.provenance).save(tmp_path / "changed")
    done = call("reproduce", tmp_path / "changed", "--json")
    assert done.exit_code == 1 and json.loads(done.stdout)["difference"] == pytest.approx(1.0)
    (name,) = saved.factors
    Delta({f"{name}.elsewhere": saved.factors[name]}, saved.provenance).save(tmp_path / "moved")
    done = call(
        "reproduce", tmp_path / "moved", "--json"
    )  # another place: apart without measure, which JSON cannot say
    assert done.exit_code == 1 and json.loads(done.stdout)["difference"] is None


def test_a_packed_run_that_was_copied_is_made_again(tmp_path: Path) -> None:
    run, ladder = tmp_path / "run", world().write_ladder("packed", one=str(world().folder / "one"))
    done = call(
        "bench", "--ladder", ladder, "--methods", "rome", "--kinds", "fact", "--sites", "mlp", "--limit", 3,
        "--datasets", f"fact_file:{world().facts}", "--corpus", "samples:256", "--fast", "--device", "cpu", "--out", run,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    call("pack", run, "--out", tmp_path / "packed")
    theirs = shutil.copytree(tmp_path / "packed", tmp_path / "elsewhere" / "theirs")
    about = json.loads((theirs / "run.json").read_text())
    (theirs / "run.json").write_text(json.dumps(about | {"machine": "Darwin arm64, 8 cores, Apple M1"}))
    done = call("board", run, tmp_path / "elsewhere", "--min-known", 2, "--json")
    lines = json.loads(done.stdout)
    assert {line["run"] for line in lines} == {str(run), str(theirs)}
    assert {line["machine"] for line in lines if line["run"] == str(theirs)} == {"Darwin arm64, 8 cores, Apple M1"}
    done = call("reproduce", theirs, "--rungs", "one", "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["identical"] is True and record["rows"] > 10
    copy = shutil.copytree(run, tmp_path / "copy")
    for first, out in ((run, run), (run, copy), (theirs, run)):  # each would compare the run with itself
        assert "nothing would be made again" in refused("reproduce", first, "--out", out)
    assert "no run there" in refused("reproduce", tmp_path / "nothing")
    assert "--model is for those" in refused("reproduce", theirs, "--model", "gpt2")


@pytest.mark.slow
def test_a_run_from_before_there_were_presets_is_made_again(tmp_path: Path) -> None:
    """A part of a committed run, by the defaults of its time: every answer and score is the same, or nearly."""
    theirs = Path(__file__).resolve().parents[3] / "results" / "study" / "ends"
    assert "preset" not in read_run(theirs, ["settings"])["settings"].iloc[0]
    done = call("reproduce", theirs, "--rungs", "gpt2-1x32", "--out", tmp_path / "again", "--json")
    record = json.loads(done.stdout)
    assert done.exit_code == 0 and record["repeated"] and record["rows"] == 460 and not record["weights"]
