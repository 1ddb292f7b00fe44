"""The sweep for real: two tiny models, a fact file, one method; resumed, killed, failing, shared."""

from __future__ import annotations

import json
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.sweep.planning.plan import Plan, Split
from benchmarks.sweep.runner import Outcome, run_bench
from editing.errors import BadData, BadRequest, UserError
from tests.benchmarks.forks import fork
from tests.benchmarks.tiny import World, facts, world
from tests.once import made_once
from valley.rows.schema import VOLATILE, read_run
from valley.scores.cases import case_scores

pytestmark = pytest.mark.usefixtures("own_cache")

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


def plan_of(tiny: World, **changes: object) -> Plan:
    base = Plan(tiny.ladder, ("rome",), ("fact",), 4, 0, (f"fact_file:{tiny.facts}",), ("mlp",), "samples:500")
    return replace(base, **changes)  # pyright: ignore[reportArgumentType]


QUICK = {"settings": (("steps", 2),)}  # where what is edited is not looked at


def run(tiny: World, out: Path, **changes: object) -> Outcome:
    return run_bench(plan_of(tiny, **changes), out, "cpu", quiet=True)


def same(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns=list(VOLATILE))


def grid_run(folder: Path) -> Path:
    """A copy in `folder` of a finished run of `plan_of`, made once for all modules."""

    def make(made: Path) -> None:
        outcome = run(world(), made / "run")
        assert (outcome.cells, outcome.ran, outcome.kept, outcome.failed) == (4, 4, 0, ())

    return Path(shutil.copytree(made_once("grid-run", make) / "run", folder / "whole"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grid_run(tmp_path_factory.mktemp("runs"))


def test_the_table_holds_every_probe_of_every_case(tiny: World, undisturbed: Path) -> None:
    rows = read_run(undisturbed)
    own = {"efficacy", "paraphrase", "cross_lingual", "neighbour", "same_subject"}
    kinds = own | {"drift", "fluency", "neighbour_plus", "ability"}
    counts = rows.groupby(["rung", "lookup"])["case"].nunique()
    assert set(rows["probe"]) == kinds and counts.tolist() == [4, 4, 4, 4]
    assert set(rows["edit_lang"]) == {"en"}
    assert rows["error"].eq("").all() and set(rows["ladder"]) == {"ladder"}
    assert rows.loc[rows["value"].isna(), "reason"].ne("").all()
    assert rows["known"].notna().all() and rows.loc[rows["rung"] == "two", "known"].mean() >= 0.5
    edited = ~rows["reason"].str.contains("reachable")
    assert rows["bits_per_byte_en"].gt(0).all() and rows.loc[edited, "edit_norm"].gt(0).all()
    assert rows.groupby("case")["split"].nunique().eq(1).all()


def test_the_weights_that_can_be_read_are_edited_and_those_that_cannot_are_not(undisturbed: Path) -> None:
    rows = read_run(undisturbed)
    efficacy = rows[rows["probe"] == "efficacy"].groupby(["rung", "lookup"])["hit_after"].mean()
    assert efficacy["two", "last"] >= 0.5
    # Later positions of a one-layer transformer never read the subject's MLP: such an edit is not made, with the reason.
    nothing = rows[(rows["rung"] == "one") & (rows["lookup"] != "last")]
    assert nothing["value"].isna().all() and nothing["reason"].str.contains("no edit there is reachable").all()
    assert rows.loc[(rows["probe"] == "efficacy") & rows["value"].notna(), "hit_before"].eq(0).all()


def test_a_second_run_runs_nothing_and_a_deleted_cell_alone_is_made_again(tiny: World, undisturbed: Path) -> None:
    before = read_run(undisturbed)
    assert run(tiny, undisturbed).ran == 0
    sorted((undisturbed / "cells").glob("*.parquet"))[1].unlink()
    outcome = run(tiny, undisturbed)
    assert (outcome.ran, outcome.kept) == (1, 3)
    pd.testing.assert_frame_equal(same(read_run(undisturbed)), same(before))


def test_a_folder_can_be_widened_but_not_mixed(tiny: World, tmp_path: Path) -> None:
    one = tiny.write_ladder("single", two=tiny.model)
    assert run(tiny, tmp_path, ladder=one, limit=2, **QUICK).ran == 2
    assert run(tiny, tmp_path, ladder=one, limit=2, sites=("mlp", "value"), **QUICK).ran == 1
    with pytest.raises(BadData, match="limit 2, not 3"):
        run(tiny, tmp_path, ladder=one, limit=3, **QUICK)


def test_a_text_that_changed_under_its_name_is_another_corpus(tiny: World, tmp_path: Path) -> None:
    """Cells of both texts stood in one run."""
    text = tmp_path / "text.txt"
    text.write_text("The capital of France is Paris.\n" * 40)
    options = {"limit": 1, "ladder": tiny.write_ladder("single", two=tiny.model), **QUICK, "corpus": f"text:{text}"}
    out = tmp_path / "run"
    assert run(tiny, out, **options).ran
    assert not run(tiny, out, **options).ran
    text.write_text("Brie comes from France.\n" * 40)
    with pytest.raises(BadData, match=r"holds another run .texts '.*', not '"):
        run(tiny, out, **options)


def test_memory_is_planned_aloud_before_a_rung_and_not_where_nothing_is_left(
    tiny: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tiny, ladder=tiny.write_ladder("aloud", two=tiny.model), limit=1, **QUICK)
    for times in (1, 0):
        run_bench(plan, tmp_path, "cpu")
        result = capsys.readouterr()
        assert result.err.count("two memory: weights ") == times and "memory:" not in result.out


def test_a_failing_cell_is_one_error_row_and_the_next_run_tries_again(tiny: World, tmp_path: Path) -> None:
    ladder = tiny.write_ladder("later", two=tiny.model, late=str(tmp_path / "late"))
    out = tmp_path / "run"
    first = run(tiny, out, ladder=ladder, limit=2, **QUICK)
    rows = read_run(out)
    assert (first.ran, len(first.failed)) == (2, 2)
    assert all("late" in line and "\n" not in line for line in first.failed)
    failed = rows[rows["error"] != ""]
    assert failed["rung"].tolist() == ["late", "late"] and failed["probe"].eq("").all()
    (tmp_path / "late").symlink_to(tiny.folder / "one")
    second = run(tiny, out, ladder=ladder, limit=2, **QUICK)
    assert (second.ran, second.kept, second.failed) == (2, 2, ())
    assert read_run(out)["error"].eq("").all()
    (tmp_path / "late").unlink()  # gone again: what was measured stays
    third = run(tiny, out, ladder=ladder, limit=2, **QUICK)
    assert (third.ran, third.kept, third.failed) == (0, 4, ())


def test_kill_9_and_two_processes_end_in_the_same_table(tiny: World, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    victim = fork(lambda: run(tiny, out), tmp_path / "stderr")
    until = time.monotonic() + 120
    while not list(out.glob("cells/*.parquet")) and time.monotonic() < until:
        time.sleep(0.002)
    victim.kill()
    assert victim.wait() == -signal.SIGKILL, victim.log.read_text()
    assert 1 <= len(list(out.glob("cells/*.parquet"))) < 4
    pair = [fork(lambda: run(tiny, out), tmp_path / f"stderr-{i}") for i in range(2)]
    assert [child.wait() for child in pair] == [0, 0], [child.log.read_text() for child in pair]
    assert len(list((out / "cells").iterdir())) == 4
    left, right = same(read_run(out)), same(read_run(undisturbed))
    pd.testing.assert_frame_equal(left, right, atol=1e-4)


def test_mistakes_are_told_before_any_work(tiny: World, tmp_path: Path) -> None:
    mistakes: list[tuple[type[UserError], dict]] = [
        (BadRequest, {"methods": ("romee",)}),
        (BadRequest, {"methods": ()}),
        (BadRequest, {"kinds": ("facts",)}),
        (BadRequest, {"sites": ("nowhere",)}),
        (BadRequest, {"limit": 0}),
        (BadRequest, {"datasets": ("no such",)}),
        (BadRequest, {"kinds": ("rename",)}),
        (BadData, {"ladder": "no such"}),
    ]
    for kind, change in mistakes:
        with pytest.raises(kind):
            run(tiny, tmp_path / "none", **change)
    assert not (tmp_path / "none").exists()


def test_the_split_is_a_third_dev_and_hangs_on_subject_and_seed() -> None:
    splits = [Split(0).of(f"subject {i}", "capital") for i in range(3000)]
    assert 900 < splits.count("dev") < 1100
    assert splits != [Split(1).of(f"subject {i}", "capital") for i in range(3000)]
    assert splits == [Split(0).of(f"subject {i}", "colour") for i in range(3000)]


def test_records_that_are_left_out_are_said_and_kept_in_the_run(tiny: World, tmp_path: Path, capsys) -> None:
    capitals = {"France": "Paris", "Spain": "Madrid", "Italy": "Rome"}
    records = [
        {
            "prompt": f"The capital of {country} is the city of",
            "subject": country,
            "target_new": "Lima",
            "ground_truth": old,
        }
        for country, old in capitals.items()
    ]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([*records, {**records[0], "subject": "Peru"}]))
    out = tmp_path / "run"
    plan = plan_of(tiny, datasets=(str(path),), **QUICK)
    outcome = run_bench(plan, out, "cpu")
    assert outcome.failed == () and outcome.ran == 4 and read_run(out)["case"].nunique() == 3
    reason, total = outcome.left_out
    assert "record 4: subject 'Peru' is absent" in reason and total.endswith("1 of 4 records left out")
    assert json.loads((out / "run.json").read_text())["skipped"] == [reason, total]
    assert reason in capsys.readouterr().err


def test_only_known_facts_are_edited_and_the_others_counted(tiny: World, tmp_path: Path) -> None:
    records = json.loads(Path(tiny.facts).read_text())[:4]
    for record in records[::2]:  # these are not what the model says
        record["old"] = next(r["old"] for r in records if r["old"] not in (record["old"], record["target"]))
    (tmp_path / "facts.json").write_text(json.dumps(records))
    changes = {
        "ladder": tiny.write_ladder("knows", two=tiny.model), "datasets": (f"fact_file:{tmp_path / 'facts.json'}",), **QUICK,
    }  # fmt: skip
    for name, known in (("all", False), ("known", True)):
        run(tiny, tmp_path / name, known=known, **changes)
    every, known = read_run(tmp_path / "all"), read_run(tmp_path / "known")
    left = known[known["reason"].str.startswith("not edited")]
    assert 0 < left["case"].nunique() == len(left) // known["cell"].nunique() < 4 and not left["known"].any()
    assert set(left["case"]) == set(every.loc[~every["known"].astype(bool), "case"])
    columns = ["case", "probe", "prompt", "pick_before", "pick_after", "value"]
    edited = known[known["known"].astype(bool)]
    pd.testing.assert_frame_equal(
        edited[columns].reset_index(drop=True), every.loc[every["known"].astype(bool), columns].reset_index(drop=True)
    )


def test_many_cases_are_several_cells_with_the_same_rows(
    tiny: World, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.sweep.search.schedule.CHUNK", 3)
    ladder = tiny.write_ladder("chunks", two=tiny.model)
    assert run(tiny, tmp_path, ladder=ladder).ran == 4
    several, whole = read_run(tmp_path), read_run(undisturbed).query("rung == 'two'").reset_index(drop=True)
    columns = ["rung", "lookup", "case", "probe", "prompt", "split", "pick_before"]
    pd.testing.assert_frame_equal(several[columns], whole[columns])
    # A batch of another size rounds differently: numbers within 5e-3, and no picks, which can all but tie.
    for column in ("logp_after", "margin_after", "edit_norm"):
        pd.testing.assert_series_equal(several[column], whole[column], rtol=1e-4, atol=5e-3)
    assert run(tiny, tmp_path, ladder=ladder).ran == 0


def test_a_known_fact_with_a_question_that_is_too_long_stays_known(tiny: World, tmp_path: Path) -> None:
    first, second = facts()[:2]
    there = first["neighbours"][0]
    long = there | {"prompt": "word " * 700 + there["prompt"]}
    unknown = second | {"subject": "Chile", "target": "Madrid", "old": "Rome", "neighbours": [long]}
    file = tmp_path / "facts.json"
    file.write_text(json.dumps([first | {"neighbours": [there, long]}, second, unknown]))
    for only_known in (True, False):
        out = tmp_path / str(only_known)
        run(tiny, out, ladder=tiny.model, datasets=(str(file),), known=only_known, **QUICK)
        rows = read_run(out)
        too_long = rows[rows["reason"] == "longer than the model reads"].groupby("subject")["known"]
        assert too_long.agg(["all", "any"]).to_dict("list") == {"all": [False, True], "any": [False, True]}
        knew = case_scores(rows).groupby("subject")["known"].all()
        assert knew.to_dict() == {"France": True, "Spain": True, "Chile": False}
