"""Doses, the whole search and extensions of a run, on two tiny models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.cases import Probe
from benchmarks.datasets import read_cases
from benchmarks.ladders.ladder import Rung
from benchmarks.sweep.cell import Cell
from benchmarks.sweep.cell_work import cell_records, load_rung
from benchmarks.sweep.extension import chain_of
from benchmarks.sweep.planning.plan import DOSES, Choices, Edits, Plan, Split
from benchmarks.sweep.pools import pools, without_dev_subjects
from benchmarks.sweep.runner import run_bench
from benchmarks.sweep.search.place import Place, places
from benchmarks.sweep.search.races import FINALISTS, Race, doubling
from benchmarks.sweep.search.search_points import Point
from editing.errors import BadData, BadRequest
from editing.files import canonical, digest
from editing.methods import make_method
from tests.benchmarks.sweep.walk import follow
from tests.benchmarks.tiny import World, world
from valley.rows.schema import VOLATILE, read_run
from valley.scores.plan import AnalysisPlan, plan_caution, stored

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


def plan_of(tiny: World, **changes) -> Plan:
    """Two layers, two sites, one lookup: four settings of ROME, and the control at a random layer."""
    axes = (("rome", (("lookup", ("last",)), ("site", ("mlp", "value")), ("steps", (6,)))), ("random_layer", ()))
    base = Plan(
        tiny.write_ladder("two-layers", two=tiny.model),
        ("rome", "random_layer"),
        ("fact",),
        6,
        0,
        corpus="samples:500",
        seeds=(0,),
        edits=(Edits("fact", f"fact_file:{tiny.facts}", 6),),
        axes=axes,
        search="halving",
        split=Split(0, 0.5),
        probes=1,
    )
    return replace(base, **changes)


def measured(folder: Path) -> pd.DataFrame:
    return read_run(folder, doses=True).drop(columns=[*VOLATILE, "cell"])


@pytest.fixture(scope="module")
def dosed(tiny: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "dosed"
    outcome = run_bench(plan_of(tiny), out, "cpu", quiet=True)
    assert outcome.failed == () and outcome.ran == outcome.cells
    return out


class TestDoses:
    def test_every_test_case_is_measured_at_every_dose_and_no_development_case_is(self, dosed: Path) -> None:
        rows = read_run(dosed, doses=True)
        tested = rows[rows["split"] == "test"]
        counts = tested.groupby(["method", "settings", "case"], observed=True)["dose"].agg(["nunique", "count"])
        assert set(tested["dose"]) == set(DOSES) and counts["nunique"].eq(len(DOSES)).all()
        assert (counts["count"] % len(DOSES) == 0).all(), "the same probes at every dose"
        assert rows.loc[rows["split"] == "dev", "dose"].eq(1.0).all()
        norm = tested.groupby(["settings", "case", "dose"], observed=True)["edit_norm"].first().unstack("dose")
        np.testing.assert_allclose(norm.div(norm[1.0], axis=0), [list(DOSES)] * len(norm), rtol=1e-9)

    @pytest.mark.slow
    def test_doses_measured_together_are_those_measured_one_at_a_time(
        self, tiny: World, dosed: Path, tmp_path: Path
    ) -> None:
        """Dose 1 bit for bit what a run without doses measures; dose 2 what is added to that run afterwards."""
        run_bench(plan_of(tiny, doses=(1.0,)), tmp_path, "cpu", quiet=True)
        pd.testing.assert_frame_equal(
            measured(tmp_path), read_run(dosed).drop(columns=[*VOLATILE, "cell"]), check_exact=True
        )
        plain = {file.name for file in (tmp_path / "cells").iterdir()}
        assert plain < {file.name for file in (dosed / "cells").iterdir()}, "the cells of dose 1 keep their addresses"
        run_bench(plan_of(tiny, doses=(1.0, 2.0), extend=True), tmp_path, "cpu", quiet=True)
        together, alone = (
            read_run(folder, doses=True).query("dose == 2").drop(columns=[*VOLATILE, "cell", "extension"])
            for folder in (dosed, tmp_path)
        )
        assert len(alone) > 0
        pd.testing.assert_frame_equal(alone.reset_index(drop=True), together.reset_index(drop=True), atol=1e-4)

    def test_an_edit_of_no_size_leaves_the_likeness_to_reference_texts(self, tiny: World) -> None:
        """However few cases are measured at a time, their words weigh what they weigh before the edits."""
        loaded = load_rung(tiny.model, "cpu", "identity", 0, quiet=True)
        cases = read_cases(f"fact_file:{tiny.facts}", "fact", 3, 0).cases
        texts = ("The city of Rome", "The old city of Lima and the people of Lima", "People of France speak French")
        cases = [
            replace(case, probes=(case.probes[0], Probe("fluency", f"The city of {case.subject}", reference=text)))
            for case, text in zip(cases, texts, strict=True)
        ]
        settings = canonical(make_method("ft_l", site="mlp", steps=2).settings())
        cell = Cell(
            "two-layers", "two", 0, tiny.model, "ft_l", settings, "fact", "", 0, "identity", "", doses="[0,1,2]"
        )
        rows = [row for row in cell_records(cell, cases, loaded) if row["probe"] == "fluency" and row["dose"] == 0]
        assert len(rows) == 3 and all(row["text_before"] == row["text_after"] for row in rows)
        before, after = ([row[f"reference_score_{when}"] for row in rows] for when in ("before", "after"))
        assert after == before and min(before) > 0

    def test_what_has_no_dose_is_measured_as_it_is(self, tiny: World) -> None:
        plan = plan_of(tiny, methods=("ike", "grace", "rome"), axes=(("ike", ()), ("grace", ()), ("rome", ())))
        tasks = [task for step in follow(place_of(tiny, plan), always_good) for task in step]
        assert {task.cell.method for task in tasks if task.cell.doses} == {"rome"}

    def test_a_grid_search_has_doses_only_where_they_are_stated(self, tiny: World) -> None:
        grid = plan_of(tiny, search="grid", methods=("rome",))
        assert not grid.choices().more_doses and grid.choices({"search_rule": 2}).doses == (1.0,)
        assert replace(grid, doses=(0.5, 1.0)).choices().more_doses == (0.5,)


def place_of(tiny: World, plan: Plan, about: dict | None = None) -> Place:
    return replace(places(plan, about)[0][0], rung=Rung("r", tiny.model))


def always_good(settings: dict) -> Point:
    return Point(0.5, 0.5, known=10**9)


class TestWholeSearch:
    def test_batches_double_from_twelve_whatever_is_searched(self) -> None:
        assert [(cut.start, cut.stop) for cut in doubling(60)] == [(0, 12), (12, 24), (24, 48), (48, 60)]
        assert [(cut.start, cut.stop) for cut in doubling(5)] == [(0, 5)] and doubling(0) == []

    def test_every_layer_site_and_lookup_is_tried_at_every_rung(self, tiny: World) -> None:
        plan = plan_of(tiny, axes=(("rome", ()), ("memit", ()), ("ike", ())), methods=("rome", "memit", "ike"))
        place = place_of(tiny, plan)
        grid = [(s["site"], s["lookup"], int(s["depth"] * 2)) for s in place.grid("fact", "rome")]
        assert len(set(grid)) == len(grid) == 3 * 2 * 2 and {layer for _, _, layer in grid} == {0, 1}
        assert len(place.grid("fact", "memit")) == 2 * 2 * 2, "it has no value site"
        assert len(place.grid("fact", "ike")) == 1, "where it edits nothing, there is nothing to try"
        deep = replace(place, n_layers=7)
        assert {int(s["depth"] * 7) for s in deep.grid("fact", "rome")} == set(range(7))

    def test_a_depth_of_all_is_every_layer_in_a_grid_too(self, tiny: World) -> None:
        plan = plan_of(
            tiny, search="grid", axes=(("rome", (("depth", ("all",)), ("site", ("mlp",)))),), methods=("rome",)
        )
        (tasks,) = follow(place_of(tiny, plan), always_good)
        assert {json.loads(task.cell.settings)["depth"] for task in tasks} == {0.25, 0.75}

    def test_three_finalists_meet_the_test_cases_each_best_one_with_its_placebo(self, tiny: World) -> None:
        plan = plan_of(
            tiny, methods=("rome", "r_rome", "placebo", "random_layer"),
            axes=(("rome", ()), ("r_rome", ()), ("placebo", ()), ("random_layer", ())), doses=(1.0,),
        )  # fmt: skip
        last = follow(place_of(tiny, plan), lambda s: Point(0.5, s.get("depth") or 0.1, known=12))[-1]
        by_method = pd.Series([task.cell.method for task in last]).value_counts()
        assert by_method.to_dict() == {"rome": FINALISTS, "r_rome": FINALISTS, "placebo": 2, "random_layer": 1}
        inner = {json.loads(t.cell.settings)["inner"] for t in last if t.cell.method == "placebo"}
        assert inner == {"rome", "r_rome"}

    def test_halving_waits_for_twelve_known_cases(self, tiny: World) -> None:
        many = Choices()
        place = replace(place_of(tiny, plan_of(tiny)), choices=many)
        race = Race(place, "fact", "rome", [{"depth": d / 10} for d in range(8)])
        race.last = 4
        for known, left in ((5, 8), (13, 4), (20, 4), (40, 3)):
            race.judge(lambda _, known=known: Point(0.5, 0.5, known=known))
            assert len(race.settings) == left, known

    def test_the_control_at_a_random_layer_searches_the_other_settings_on_the_same_cases(self, dosed: Path) -> None:
        rows = read_run(dosed)
        control = rows[rows["method"] == "random_layer"]
        assert control["depth"].nunique() == 1, "one draw for all cases of a rung"
        dev, real = control[control["split"] == "dev"], rows[(rows["method"] == "rome") & (rows["split"] == "dev")]
        assert set(dev["case"]) == set(real["case"]) and dev["settings"].nunique() == 2  # two sites, no other layer
        tested = control[control["split"] == "test"]
        assert tested["settings"].nunique() == 1 and json.loads(tested["settings"].iloc[0])["inner"] == "rome"

    def test_an_earlier_run_keeps_its_rule_and_a_new_one_records_it(self, tiny: World, dosed: Path) -> None:
        record = json.loads((dosed / "run.json").read_text())
        rows = read_run(dosed)
        known = rows[(rows["split"] == "dev") & rows["known"].fillna(False) & (rows["method"] == "rome")]
        assert record["known_development"] == {"two": {"fact": known["case"].nunique()}}
        assert (record["search_rule"], record["doses"]) == (3, list(DOSES)) and "doses" not in record["plan"]
        plan = plan_of(tiny)
        assert plan.choices({"plan": plan.fixed()}) == Choices(1, (1.0,)), "of before rules were recorded"
        assert plan.choices(record) == Choices(3, DOSES)
        with pytest.raises(BadRequest, match="begun by rule 3"):
            replace(plan, search_rule=1).choices(record)
        assert plan.hash == replace(plan, extend=True).hash != replace(plan, doses=DOSES).hash


class TestSplit:
    def test_test_neighbours_ask_about_no_development_subject(self) -> None:
        plan = Plan("demo", ("rome",), ("fact", "rename"), 60, 0, search="halving", split=Split(), seeds=(0,))
        split = plan.split
        assert split is not None
        questions = {}
        for rule in (1, 2):
            ((result, notes),) = pools(plan, Choices(rule), [""])
            questions[rule] = [
                split.is_dev(p.about)
                for pool in result.values() for case in pool.side("test") for p in case.probes
                if p.kind in ("neighbour", "neighbour_plus") and p.about
            ]  # fmt: skip
        assert np.mean(questions[1]) > 0.05 and questions[2] and not any(questions[2])
        assert any("ask about development subjects and are left out" in note for note in notes)

    def test_a_probe_that_does_not_say_whom_it_asks_about_is_read(self, tiny: World) -> None:
        (pool,) = pools(plan_of(tiny), Choices(1), [""])[0][0].values()
        (case, *_), dev = pool.side("test"), pool.side("dev")[0].subject
        bare = replace(case.probes[0], kind="neighbour", prompt=f"The capital of {dev} is", about="", rival=None)
        assert isinstance(bare, Probe)
        kept, note = without_dev_subjects(
            [replace(case, probes=(*case.probes, bare)), pool.side("dev")[0]], Split(0, 0.5)
        )
        assert bare not in kept[0].probes and note

    @pytest.mark.parametrize(
        ("name", "prompt", "other"),
        [
            ("北京", "中国的首都是北京吗？北京是", "东京是日本的首都"),
            ("C#", "C# was made by", "C was made by"),
            ("프랑스", "프랑스의 수도는", "독일의 수도는"),
            ("Niger", "The capital of Niger is", "The capital of Nigeria is"),
        ],
    )
    def test_a_name_is_found_in_its_script(self, tiny: World, name: str, prompt: str, other: str) -> None:
        (pool,) = pools(plan_of(tiny), Choices(1), [""])[0][0].values()
        (case, *_), split = pool.side("test"), Split(0, 0.5)
        probe = case.probes[0]
        bare, kept = (replace(probe, kind="neighbour", prompt=text, about="", rival=None) for text in (prompt, other))
        seed = next(i for i in range(99) if (s := Split(i, 0.5)).is_dev(name) and not s.is_dev(case.subject))
        named = replace(pool.side("dev")[0], subject=name)
        (first, _), note = without_dev_subjects(
            [replace(case, probes=(probe, bare, kept)), named], replace(split, seed=seed)
        )
        assert (first.probes, bool(note)) == ((probe, kept), True)


class TestExtension:
    @pytest.mark.slow
    def test_a_run_is_extended_by_cases_methods_and_doses_and_keeps_its_plan_and_rows(
        self, tiny: World, tmp_path: Path
    ) -> None:
        axes = (("rome", (("lookup", ("last",)), ("site", ("mlp",)), ("steps", (6,)))), ("random_layer", ()))
        few = (Edits("fact", f"fact_file:{tiny.facts}", 4),)
        small = plan_of(tiny, edits=few, doses=(1.0,), methods=("rome",), axes=axes[:1])
        run_bench(small, tmp_path, "cpu", quiet=True)
        before, first = measured(tmp_path), json.loads((tmp_path / "run.json").read_text())
        stamps = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "cells").iterdir()}
        larger = plan_of(tiny, doses=(1.0, 2.0), axes=axes)
        with pytest.raises(BadData, match=r"holds another run .* or --extend to add to it"):
            run_bench(larger, tmp_path, "cpu", quiet=True)
        outcome = run_bench(replace(larger, extend=True), tmp_path, "cpu", quiet=True)
        assert outcome.failed == () and outcome.ran > 0
        record = json.loads((tmp_path / "run.json").read_text())
        assert record["plan"] == first["plan"] and record["plan_hash"] == first["plan_hash"] == small.hash
        assert record["fixed_at"] == first["fixed_at"]
        (extension,) = record["extensions"]
        assert extension["plan_hash"] == larger.hash and extension["time"] and len(extension["adds"]) == 4
        rows = read_run(tmp_path, doses=True)
        old = rows[rows["extension"] == ""].drop(columns=[*VOLATILE, "cell"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(old, before)
        assert set(rows["extension"]) == {"", larger.hash[:16]} and 2.0 in set(rows["dose"])
        assert {file: (tmp_path / "cells" / file).stat().st_mtime_ns for file in stamps} == stamps, "not touched"
        for plan in (larger, replace(larger, extend=True), small):  # each goes on, and has nothing left to do
            assert run_bench(plan, tmp_path, "cpu", quiet=True).ran == 0
        assert json.loads((tmp_path / "run.json").read_text())["extensions"] == [extension]

    def test_a_judgement_says_that_the_run_was_extended(self, tmp_path: Path) -> None:
        assert stored(AnalysisPlan(), tmp_path) == "" == plan_caution(tmp_path)
        extension = {"time": "2026-01-02", "plan_hash": digest({}), "adds": ["limit: 4 -> 6"], "plan": {}}
        (tmp_path / "run.json").write_text(json.dumps({"extensions": [extension]}))
        for caution in (stored(AnalysisPlan(), tmp_path), plan_caution(tmp_path)):
            assert caution.startswith(f"the run was extended, 2026-01-02 (plan {digest({})[:16]}): limit")
        caution = plan_caution(tmp_path, min_known=3)
        assert "another analysis plan" in caution and "the run was extended" in caution

    def test_what_leaves_something_out_is_no_extension(self, tiny: World, tmp_path: Path) -> None:
        plan = plan_of(tiny)
        about = {"plan": plan.fixed(), "search_rule": 2}
        for changes, reason in (
            ({"corpus": "samples:600"}, "corpus is"),
            ({"methods": ("rome",)}, "methods leaves out"),
            ({"edits": (Edits("fact", f"fact_file:{tiny.facts}", 5),)}, "edits leaves out"),
            ({"split": Split(1, 0.5)}, "split is"),
        ):
            with pytest.raises(BadData, match=reason):
                chain_of(tmp_path, replace(plan, **changes).fixed(), about, extend=True)
        more = (
            ("rome", (("lookup", ("last",)), ("site", ("mlp", "value", "attn")), ("steps", (6,)))),
            ("random_layer", ()),
        )
        larger = replace(plan, axes=more).fixed()
        assert chain_of(tmp_path, larger, about, extend=True).entry
        with pytest.raises(BadData, match="rule 1 cannot add settings to rome"):
            chain_of(tmp_path, larger, about | {"search_rule": 1}, extend=True)

    def test_an_earlier_run_without_doses_gets_them_beside_its_cells(self, tiny: World, tmp_path: Path) -> None:
        small = plan_of(tiny, search="grid", split=None, methods=("rome",), limit=2, settings=(("steps", 2),),
                        edits=(), datasets=(f"fact_file:{tiny.facts}",), sites=("mlp",), axes=())  # fmt: skip
        run_bench(small, tmp_path, "cpu", quiet=True)
        about = json.loads((tmp_path / "run.json").read_text())
        for key in ("search_rule", "doses"):
            del about[key]
        (tmp_path / "run.json").write_text(json.dumps(about))
        before = measured(tmp_path)
        dosed = replace(small, doses=(0.5, 1.0), extend=True)
        for ran in (2, 0):
            assert run_bench(dosed, tmp_path, "cpu", quiet=True).ran == ran
        rows = measured(tmp_path)
        assert set(rows["dose"]) == {0.5, 1.0}
        pd.testing.assert_frame_equal(rows[rows["dose"] == 1].reset_index(drop=True), before)
        assert json.loads((tmp_path / "run.json").read_text())["doses"] == [1.0]
