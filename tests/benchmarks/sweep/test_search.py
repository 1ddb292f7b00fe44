"""The search: which settings reach the test cases, that it starts anew anywhere, and that the analysis picks what it
picked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from math import isnan, nan
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.ladders.ladder import Rung
from benchmarks.sweep.planning.plan import Edits, Plan, Split
from benchmarks.sweep.run_folder.merge import merge
from benchmarks.sweep.runner import run_bench
from benchmarks.sweep.search.place import Place, places
from benchmarks.sweep.search.races import rounds, slices
from benchmarks.sweep.search.schedule import walk
from benchmarks.sweep.search.search_points import Point, front, judge, ranked
from benchmarks.sweep.shards import Shard
from editing.errors import BadRequest
from tests.benchmarks.sweep.walk import follow
from tests.benchmarks.tiny import World, world
from tests.once import made_once
from valley.rows.schema import read_run
from valley.scores.cases import case_scores
from valley.scores.composites import by_name
from valley.scores.settings import GROUP, choose, group_means

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


def plan_of(tiny: World, depths: Sequence[float] = (0.1, 0.6), **changes) -> Plan:
    axes = (("lookup", ("subject_last", "last")), ("depth", tuple(depths)), ("site", ("mlp",)), ("steps", (3,)))
    base = Plan(
        tiny.ladder,
        ("rome", "placebo", "random_site"),
        ("fact",),
        6,
        0,
        corpus="samples:500",
        seeds=(0,),
        edits=(Edits("fact", f"fact_file:{tiny.facts}", 6),),
        axes=(("rome", axes), ("placebo", ()), ("random_site", ())),
        search="halving",
        split=Split(0, 0.5),
        search_rule=1,
    )
    return replace(base, **changes)


def searched_run(folder: Path) -> Path:
    """A copy in `folder` of a finished run of `plan_of`, made once for all modules."""

    def make(made: Path) -> None:
        outcome = run_bench(plan_of(world()), made / "run", "cpu", quiet=True)
        assert outcome.failed == () and outcome.ran == outcome.cells

    return Path(shutil.copytree(made_once("searched-run", make) / "run", folder / "searched"))


def place_of(tiny: World, **changes) -> Place:
    plan = plan_of(tiny, **changes)
    return replace(places(plan)[0][0], rung=Rung("r", tiny.model))


def test_slices_double_and_cover_all_dev_cases_once() -> None:
    assert [rounds(n) for n in (1, 2, 3, 4, 5, 8, 9)] == [1, 1, 2, 2, 3, 3, 4]
    for n_cases in (1, 2, 5, 16, 33, 100):
        for n_rounds in (1, 2, 3, 5):
            cut = slices(n_cases, n_rounds)
            assert [i for one in cut for i in range(n_cases)[one]] == list(range(n_cases)) and len(cut) == n_rounds
    assert [s.stop for s in slices(64, 4)] == [8, 16, 32, 64] and [s.stop for s in slices(6, 3)] == [4, 4, 6]


def test_the_best_setting_survives_and_only_it_meets_the_test_cases(tiny: World) -> None:
    place = place_of(tiny, depths=(0.1, 0.2, 0.6, 0.7))
    rounds_ = follow(place, lambda s: Point(0.5, 0.9 if (s["depth"], s["lookup"]) == (0.2, "last") else 0.3))
    *dev, test = rounds_
    settings = [{task.cell.settings for task in step} for step in dev]
    assert len(settings[0]) == 8 and settings[0] > settings[-1] and len(settings[-1]) <= 2
    by_method = {task.cell.method: json.loads(task.cell.settings) for task in test}
    assert len(test) == 3 and by_method["rome"]["depth"] == 0.2 and by_method["rome"]["lookup"] == "last"
    assert by_method["placebo"]["inner"] == "rome" and by_method["placebo"]["depth"] == 0.2
    assert json.loads(by_method["placebo"]["options"])["steps"] == 3 and by_method["random_site"]["steps"] == 3
    values = {case.id for step in dev for task in step for case in task.cases}
    questions = {case.id for task in test for case in task.cases}
    assert values and questions and not values & questions and {task.cell.stage for task in test} == {"test"}
    addresses = [task.cell.address("m") for step in rounds_ for task in step]
    assert len(set(addresses)) == len(addresses) == sum(map(len, walk(place)))  # as many as the dry run says


def test_ties_go_by_order_and_what_cannot_be_measured_comes_last(tiny: World) -> None:
    first = json.loads(follow(place_of(tiny), lambda _: Point(0.5, 0.5))[0][0].cell.settings)
    chosen = follow(place_of(tiny), lambda s: Point() if s == first else Point(0.5, 0.5))[-1][0].cell.settings
    tied = follow(place_of(tiny), lambda _: Point(0.5, 0.5))[-1][0].cell.settings
    assert json.loads(tied) == first and json.loads(chosen) != first
    points = [Point(0.1, 0.9), Point(nan, 1.0), Point(0.5, 0.5), Point(0.5, 0.5), Point(0.4, 0.4), Point(0.0, 0.0)]
    assert ranked(points) == [2, 3, 4, 0, 5, 1] and front(points) == [0, 2]
    assert Point(0.0, 0.0).score == 0.0 and isnan(Point().score) and Point(0.5, 0.5, gated=True).score == 0.0


def test_a_pareto_search_scores_the_whole_front(tiny: World) -> None:
    score = {(0.1, "last"): Point(0.9, 0.1), (0.6, "last"): Point(0.1, 0.9), (0.6, "subject_last"): Point(0.5, 0.5)}
    place = place_of(tiny, pareto=True)
    test = follow(place, lambda s: score.get((s["depth"], s["lookup"]), Point(0.1, 0.1)))[-1]
    kept = [json.loads(t.cell.settings) for t in test if t.cell.method == "rome"]
    assert {(s["depth"], s["lookup"]) for s in kept} == set(score) and kept[0]["lookup"] == "subject_last"


def test_a_setting_that_fails_on_every_case_is_out_and_a_method_with_it(tiny: World) -> None:
    place = place_of(tiny, depths=(0.1, 0.6))
    only = follow(place, lambda s: Point(0.1, 0.1) if s["depth"] == 0.6 else Point(failed=True))[-1]
    assert {json.loads(t.cell.settings)["depth"] for t in only if t.cell.method == "rome"} == {0.6}
    assert follow(place, lambda _: Point(failed=True))[-1] == [] and judge(pd.DataFrame({"error": ["no"]})).failed


def test_a_side_without_cases_is_refused_before_any_work(tiny: World, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="no dev case among 6; raise limit"):
        run_bench(plan_of(tiny, split=Split(0, 0.0001)), tmp_path / "none", "cpu", quiet=True)
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched_run(tmp_path_factory.mktemp("runs"))


def test_the_analysis_chooses_on_dev_what_the_search_chose(searched: Path) -> None:
    rows = read_run(searched)
    assert set(rows["split"]) == {"dev", "test"} and rows["error"].eq("").all()
    tested = rows[(rows["split"] == "test") & (rows["method"] == "rome")]
    assert tested.groupby("rung")["settings"].nunique().eq(1).all()
    scores = case_scores(rows)
    choice = choose(scores, rows[list(GROUP)].drop_duplicates()).set_index("rung")
    for rung, own in tested.groupby("rung"):
        assert choice.loc[rung, "settings"] == own["settings"].iloc[0] and choice.loc[rung, "scored_on"] == "test"
        assert rows[(rows["rung"] == rung) & (rows["method"] == "placebo")]["case"].isin(own["case"]).all()
    assert rows[rows["method"] == "placebo"]["split"].eq("test").all()


def test_the_search_judges_as_the_analysis_does(searched: Path) -> None:
    rows = read_run(searched)
    rows = rows[(rows["split"] == "dev") & (rows["method"] == "rome")]
    scores = case_scores(rows)
    known = group_means(scores[scores["known"]], by_name("harmonic_raw_all")).set_index(["rung", "settings"])
    for key, mine in rows.groupby(["rung", "settings"]):
        point = judge(mine)
        if key in known.index:
            assert point.score == pytest.approx(known.loc[key, "score"], nan_ok=True)
    nothing = rows.assign(error="failed")
    assert isnan(judge(nothing).score)


def test_free_text_is_read_on_test_cases_only(searched: Path) -> None:
    rows = read_run(searched)
    rows = rows[rows["exact_before"].notna() & rows["value"].notna()]
    assert set(rows["split"]) == {"dev", "test"}
    texts, matches = (rows.groupby("split")[column] for column in ("text_after", "exact_after"))
    assert texts.agg(lambda x: x.ne("").any()).to_dict() == {"dev": False, "test": True}
    assert matches.agg(lambda x: x.notna().all()).to_dict() == {"dev": False, "test": True}


def test_a_second_run_goes_on_anywhere_and_ends_in_the_same_cells(tiny: World, searched: Path) -> None:
    before = sorted(file.name for file in (searched / "cells").iterdir())
    assert run_bench(plan_of(tiny), searched, "cpu", quiet=True).ran == 0
    for rung, stage in (("one", "dev"), ("two", "test")):
        table = {
            file: tuple(pd.read_parquet(file, columns=["rung", "split"]).iloc[0])
            for file in (searched / "cells").iterdir()
        }
        for file in [file for file, about in table.items() if about == (rung, stage)]:
            file.unlink()
        assert run_bench(plan_of(tiny), searched, "cpu", quiet=True).ran > 0
        assert sorted(file.name for file in (searched / "cells").iterdir()) == before


def test_seeds_have_their_own_cells_and_one_split(tiny: World, tmp_path: Path) -> None:
    ladder = tiny.write_ladder("one-rung", two=tiny.model)
    plan = plan_of(tiny, depths=(0.6,), ladder=ladder, seeds=(0, 1), methods=("rome",))
    assert run_bench(plan, tmp_path, "cpu", quiet=True).failed == ()
    rows = read_run(tmp_path)
    assert set(rows["run_seed"]) == {0, 1} and len(case_scores(rows)) > 0
    assert rows.groupby("case")["split"].nunique().eq(1).all()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["plan_hash"] == plan.hash and record["fixed_at"] and record["schema"] == rows["schema_version"].max()


def test_parts_of_a_rung_note_the_development_cases_of_their_kinds_beside_each_other(
    tiny: World, tmp_path: Path
) -> None:
    axes = (("lookup", ("last",)), ("depth", (0.1, 0.6)), ("site", ("mlp",)), ("steps", (1,)))
    edits = (Edits("fact", f"fact_file:{tiny.facts}", 6), Edits("rename", "concept_suite", 6))
    plan = plan_of(
        tiny, ladder=tiny.model, methods=("rome",), kinds=("fact", "rename"), edits=edits, axes=(("rome", axes),),
        corpus="identity", probes=1,
    )  # fmt: skip
    for number in (1, 2):
        for folder in ("both", f"node-{number}"):
            run_bench(plan, tmp_path / folder, "cpu", quiet=True, part=Shard(number, 2))
    merge([tmp_path / "node-1", tmp_path / "node-2"], tmp_path / "merged")
    for folder in ("both", "merged"):
        (kinds,) = json.loads((tmp_path / folder / "run.json").read_text())["known_development"].values()
        assert list(kinds) == ["fact", "rename"] and kinds["fact"] > 0
