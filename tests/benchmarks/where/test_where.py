"""`valley where`: the search finds a planted best layer in few steps, keeps to its budget, goes on, and its file is
taken by `edit` and `bench`."""

from __future__ import annotations

import json
from math import nan
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks.live import usual_settings
from benchmarks.sweep import ADAPTIVE, Plan, Split
from benchmarks.sweep.search import adaptive as search
from benchmarks.sweep.search.adaptive import BATCH, COARSE, COUNTED, FINALISTS, adaptive
from benchmarks.sweep.search.place import places
from benchmarks.sweep.search.search_points import Point
from benchmarks.where import choices, read_choice, write_choices
from benchmarks.where.choice import best
from cli import cli
from editing.errors import BadData, BadRequest
from editing.methods import make_method
from editing.stats import statistics
from tests.benchmarks.commands.test_cli import refused
from tests.benchmarks.tiny import world
from valley.rows import GATES

LAYERS = 24


def place(**more):
    """The one place of an adaptive plan, on a model of LAYERS blocks that is never loaded."""
    from dataclasses import replace

    given = {"methods": ("rome", "memit"), "sites": ("mlp", "value"), "limit": 60, **more}
    given = {"kinds": ("fact",), "search": ADAPTIVE, **given}
    plan = Plan(ladder="grown:gpt2-1x64", seed=0, split=Split(0), probes=1, **given)
    (found,), _, _ = places(plan)
    return replace(found, n_layers=LAYERS)


def walk(schedule, score):
    """Run a schedule on made-up points; the tasks of every step."""
    steps = [next(schedule)]

    def read(tasks):
        if not tasks:
            return Point()
        cell = tasks[0].cell
        value = score(cell.method, json.loads(cell.settings))
        return Point(value, value, failed=value != value, known=sum(len(task.cases) for task in tasks))

    while True:
        try:
            steps.append(schedule.send(read))
        except StopIteration:
            return steps


def on_test(steps):
    """The tasks on test cases, those of the best setting first."""
    return [task for step in steps for task in step if task.cell.stage.startswith("test")]


@pytest.mark.parametrize("layer", [0, 5, 11, 17, 23])
def test_the_planted_layer_is_found_without_trying_every_layer(layer: int) -> None:
    goal = (layer + 0.5) / LAYERS

    def score(method: str, settings: dict) -> float:
        good = settings["site"] == "mlp" and settings["lookup"] == "last"
        return 0.9 - abs(settings["depth"] - goal) if good else 0.1

    steps = walk(adaptive(place()), score)
    final = on_test(steps)
    first = json.loads(final[0].cell.settings)
    assert (first["site"], first["lookup"], int(first["depth"] * LAYERS)) == ("mlp", "last", layer)
    assert len({(task.cell.method, task.cell.settings) for task in final}) == FINALISTS
    assert len({task.cell.slot() for task in final}) == len(final)  # no cell replaces another one
    tried = {task.cell.settings for step in steps for task in step if task.cell.method == "rome"}
    assert len(tried) < 2 * 2 * LAYERS / 2


def test_the_other_site_is_found_behind_the_first(layer: int = 11) -> None:
    goal = (layer + 0.5) / LAYERS

    def score(method: str, settings: dict) -> float:
        return (0.9 if settings["site"] == "value" else 0.5) - abs(settings["depth"] - goal)

    steps = walk(adaptive(place()), score)
    assert {json.loads(task.cell.settings)["site"] for task in steps[0]} == {"mlp"}
    first = json.loads(on_test(steps)[0].cell.settings)
    assert (first["site"], int(first["depth"] * LAYERS)) == ("value", layer)


def test_nothing_is_dropped_before_a_known_case() -> None:
    """The model knows none of the facts: the first settings meet all development cases, the others as many."""
    schedule = adaptive(place())
    steps = [next(schedule)]

    def unknown(tasks):
        return Point(known=0)

    while not steps[-1][0].cell.stage.startswith("test") and len(steps) < 60:
        steps.append(schedule.send(unknown))
    cases = len(place().pools[("fact", "world_facts", 0)].side("dev"))
    by_setting: dict[str, int] = {}
    for task in (task for step in steps for task in step if task.cell.stage.startswith("dev")):
        by_setting[task.cell.settings] = by_setting.get(task.cell.settings, 0) + len(task.cases)
    assert len(by_setting) >= COARSE and set(by_setting.values()) == {cases}


def test_slow_edits_meet_fewer_cases_so_that_every_site_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case takes 25 seconds, as renames of a model of 135 million parameters do; six minutes are for the search."""
    now = [0.0]
    monkeypatch.setattr(search.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(search, "recall", lambda cell: 25.0)

    def score(method: str, settings: dict) -> float:
        return (0.9 if settings["site"] == "value" else 0.5) - abs(settings["depth"] - 0.8)

    evaluated: list[tuple[str, int]] = []

    def timed(tasks):
        for task in tasks:
            now[0] += 25.0 * len(task.cases)
            evaluated.append((json.loads(task.cell.settings)["site"], len(task.cases)))

    schedule = adaptive(place(budget=10, kinds=("rename",), methods=("rome",)))
    steps = [next(schedule)]
    timed(steps[0])

    def read(tasks):
        value = score(tasks[0].cell.method, json.loads(tasks[0].cell.settings)) if tasks else nan
        return Point(value, value, known=sum(len(task.cases) for task in tasks))

    while not steps[-1][0].cell.stage.startswith("test"):
        steps.append(schedule.send(read))
        timed(steps[-1])
    assert {site for site, _ in evaluated} == {"mlp", "value", "attn"} and evaluated[0] == ("mlp", 1)
    assert json.loads(steps[-1][0].cell.settings)["site"] == "value"
    assert all(json.loads(task.cell.settings)["keep_weight"] == 1.0 for step in steps for task in step)


def test_the_first_layer_meets_cases_until_it_has_a_score() -> None:
    """The first two cases ask about nothing that should stay."""
    schedule = adaptive(place(starts=(("fact", "embedding", ()),)))
    steps = [next(schedule)]

    def read(tasks):
        cases = sum(len(task.cases) for task in tasks)
        return Point(0.5, 0.5 if cases > 2 else nan, known=cases)

    while len(steps) < 5:
        steps.append(schedule.send(read))
    stages = [({task.cell.method for task in step}, {task.cell.stage for task in step}) for step in steps]
    assert stages[:3] == [({"rome"}, {f"dev {number}"}) for number in (1, 2, 3)]
    assert stages[3] == ({"embedding"}, {"dev 1", "dev 2", "dev 3"})  # what edit does, before other layers
    assert stages[4][0] == {"rome"} and stages[4][1] == {"dev 1", "dev 2", "dev 3"}


def test_batches_of_development_cases_grow_and_lie_behind_one_another() -> None:
    ends = [search.end_of(number) for number in range(-1, 6)]
    assert ends == [0, 1, 2, 4, 4 + BATCH, 4 + 2 * BATCH, 4 + 3 * BATCH]


def test_what_edit_does_is_tried_beside_the_grid_and_may_win() -> None:
    start = ("fact", "embedding", (("clamp", 2.0),))
    steps = walk(adaptive(place(starts=(start,))), lambda method, settings: 0.9 if method == "embedding" else 0.4)
    assert [task.cell.method for task in on_test(steps)].count("embedding") >= 1
    assert on_test(steps)[0].cell.method == "embedding"
    assert place(starts=(start,)).plan.hash == place().plan.hash


def test_what_edit_does_meets_the_test_cases_though_it_lost_on_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the time is spent before; one that failed does not."""
    clock = iter(range(10**6))
    monkeypatch.setattr(search.time, "monotonic", lambda: 30.0 * next(clock))
    start = ("fact", "embedding", (("clamp", 2.0),))
    for value, met in ((0.1, {"rome", "embedding"}), (nan, {"rome"})):
        steps = walk(
            adaptive(place(starts=(start,), budget=0.5)), lambda method, _, v=value: v if method == "embedding" else 0.4
        )
        assert {task.cell.method for task in on_test(steps)} == met and on_test(steps)[0].cell.method == "rome"


def test_a_better_method_at_the_best_place_wins() -> None:
    steps = walk(adaptive(place()), lambda method, settings: 0.8 if method == "memit" else 0.5 - settings["depth"] / 9)
    assert on_test(steps)[0].cell.method == "memit"


@pytest.mark.parametrize(("failing", "left"), [("value", "mlp"), ("mlp", "value")])
def test_settings_that_fail_are_left_out(failing: str, left: str) -> None:
    steps = walk(adaptive(place()), lambda method, settings: nan if settings["site"] == failing else 0.5)
    assert {json.loads(task.cell.settings)["site"] for task in on_test(steps)} == {left}


def test_a_spent_budget_ends_the_search_and_still_makes_the_test_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(search.time, "monotonic", lambda: 30.0 * next(clock))
    long = walk(adaptive(place(budget=60)), lambda method, settings: 0.5)
    short = walk(adaptive(place(budget=0.5)), lambda method, settings: 0.5)
    tests = [[step for step in steps if step[0].cell.stage.startswith("test")] for steps in (long, short)]
    assert len(short) - len(tests[1]) < len(long) - len(tests[0])
    assert len(tests[1]) == 1 < len(tests[0])
    assert all(len(task.cases) <= BATCH for task in short[0])
    searched, tested = ({p.kind for task in short[at] for case in task.cases for p in case.probes} for at in (0, -1))
    assert {"efficacy", "paraphrase", "neighbour"} <= searched <= set(COUNTED)
    assert {*COUNTED, *GATES} >= tested > searched and {"drift", "fluency"} <= tested


def test_the_test_cases_of_every_kind_come_before_those_of_a_second_finalist(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a spent budget drops second finalists, not a kind."""
    two = {"kinds": ("fact", "retarget")}

    def first_batch(steps):
        cells = [step[0].cell for step in steps if step[0].cell.stage == "test 1"]
        return [cell.edit_kind for cell in cells]

    assert first_batch(walk(adaptive(place(**two)), lambda *_: 0.5)) == ["fact", "retarget", "fact", "retarget"]
    clock = iter(range(10**6))
    monkeypatch.setattr(search.time, "monotonic", lambda: 30.0 * next(clock))
    assert first_batch(walk(adaptive(place(budget=0.5, **two)), lambda *_: 0.5)) == ["fact", "retarget"]


def test_a_search_without_test_cases_is_refused() -> None:
    with pytest.raises(BadRequest, match="raise limit"):
        next(adaptive(place(limit=1)))


def rows() -> pd.DataFrame:
    """Two settings at two doses: depth .25 at dose .5 is best."""
    out = []
    for depth, dose, moved, kept in ((0.25, 1.0, 0.9, 0.3), (0.25, 0.5, 0.8, 0.8), (0.75, 1.0, 0.5, 0.9)):
        for case in range(12):
            for probe, value in (("paraphrase", moved), ("neighbour", kept)):
                out.append({"edit_kind": "fact", "method": "rome", "settings": json.dumps({"depth": depth, "lookup": "last"}), "dose": dose,
                            "split": "test", "error": "", "known": case != 0, "dataset": "w", "case": f"c{case}", "probe": probe, "lang": "en", "edit_lang": "en", "run_seed": 0,
                            "value": value if case else 0.0, "site": "mlp", "lookup": "last", "depth": depth, "n_layers": 4})  # fmt: skip
    return pd.DataFrame(out)


def test_the_choice_is_the_best_setting_and_dose_on_known_cases(tmp_path: Path) -> None:
    found = choices(rows())
    chosen = best(found)["fact"]
    assert (chosen.dose, chosen.settings, chosen.layer, chosen.n) == (0.5, {"depth": 0.25, "lookup": "last"}, 1, 11)
    assert chosen.score == pytest.approx(0.8) and chosen.low <= chosen.score <= chosen.high
    assert chosen.line == "--method rome --dose 0.5 --set depth=0.25 --set lookup=last"
    write_choices({"fact": chosen}, "m", tmp_path / "where.toml")
    assert read_choice(tmp_path / "where.toml", "fact") == ("rome", 0.5, {"depth": 0.25, "lookup": "last"})
    with pytest.raises(BadData, match=r"no table \[rename\]"):
        read_choice(tmp_path / "where.toml", "rename")
    for line, message in {
        "heat = 1": "no setting 'heat'",
        'dose = "much"': "dose is 'much'; write a number",
        "dose = nan": "dose is nan",
        "dose = true": "dose is True",
    }.items():
        (tmp_path / "bad.toml").write_text(f'[fact]\nmethod = "rome"\n{line}\n')
        with pytest.raises(BadData, match=rf"bad.toml: \[fact\]: .*{message}"):
            read_choice(tmp_path / "bad.toml", "fact")


def test_a_known_case_that_could_not_be_edited_takes_no_part() -> None:
    """Its row stands first and names no place. Where nothing known could be edited, the other cases are the score's."""
    table = rows()
    lost = {"case": "lost", "probe": "efficacy", "value": nan, "site": "", "lookup": "", "depth": nan}
    table = pd.concat([table.groupby("dose").head(1).assign(known=True, **lost), table], ignore_index=True)
    chosen = best(choices(table))["fact"]
    assert (chosen.site, chosen.lookup, chosen.layer, chosen.n) == ("mlp", "last", 1, 11)
    assert chosen.score == pytest.approx(0.8)
    chosen = best(choices(table.assign(known=table["case"] == "lost")))["fact"]
    assert (chosen.site, chosen.layer, chosen.n) == ("mlp", 1, 12) and chosen.low <= chosen.score <= chosen.high


def test_a_setting_that_loses_on_every_case_is_not_as_good_within_error() -> None:
    """Cases differ by much more than the settings do, so the intervals overlap."""
    table = rows()
    table = table[table["dose"] == 1.0]
    spread = table["case"].str[1:].astype(int) / 20
    for gap, close in ((0.05, False), (0.0, True)):
        measured = choices(table.assign(value=0.3 + spread - gap * (table["depth"] == 0.75)))
        assert measured[1].high >= measured[0].low and measured[1].close is close and measured[0].close


def test_a_rename_from_the_file_is_the_edit_of_the_pasted_line(tmp_path: Path) -> None:
    """Both say how it is kept away from other definitions, also where it was not."""
    table = rows().assign(edit_kind="rename")
    for weight, stated in ((0.0, "--set keep_weight=0.0"), (1.0, "--set keep_weight=1.0")):
        settings = json.dumps(make_method("rome", site="attn", keep_weight=weight).settings())
        chosen = best(choices(table.assign(settings=settings)))["rename"]
        assert stated in chosen.line and "--set site=attn" in chosen.line
        write_choices({"rename": chosen}, "m", tmp_path / "where.toml")
        method, _, placed = read_choice(tmp_path / "where.toml", "rename")
        given = dict(one.split("=") for one in chosen.line.split(" --set ")[1:])
        pasted = usual_settings("rename", method, given) | placed
        assert pasted == placed == {"site": "attn", "keep_weight": weight}


def test_a_method_without_layers_is_shown_by_its_place() -> None:
    settings = json.dumps(make_method("embedding").settings())
    table = rows().assign(edit_kind="retarget", method="embedding", site="embedding", depth=0.0, settings=settings)
    chosen = best(choices(table))["retarget"]
    assert chosen.layer is None and chosen.place == "embedding" and chosen.site == "embedding"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["where", "LADDER", "--out", "OUT"], "is a ladder of 2 models (one, two); name one model"),
        (["where", "MODEL", "--budget", "nan", "--out", "OUT"], "--budget nan: write minutes from 0 on"),
        (["edit", "--model", "MODEL", "--erase", "cheese", "--at", "FILE"], "no table [erase] with a method"),
    ],
)
def test_a_slip_is_refused_before_any_work(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "where.toml").write_text('[fact]\nmethod = "rome"\n')
    names = {"LADDER": world().ladder, "MODEL": world().model, "FILE": str(tmp_path / "where.toml")}
    names["OUT"] = str(tmp_path / "run")
    result = CliRunner().invoke(cli, [names.get(one, one) for one in arguments])
    assert result.exit_code == 2 and message in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("error")
def test_an_interval_where_few_cases_have_a_neighbour() -> None:
    table = rows()
    table = table[(table["probe"] != "neighbour") | table["case"].isin(["c1", "c2"])]  # some draws hold neither case
    chosen = best(choices(table))["fact"]
    assert 0 < chosen.low <= chosen.score <= chosen.high < 1


def test_the_first_layers_of_every_site_share_one_pass_over_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path / "cache"))
    passes: list[list[str]] = []
    made = statistics.covariances

    def counted(lm, sequences, sites, **more):
        passes.append([site.kind for site in sites])
        return made(lm, sequences, sites, **more)

    monkeypatch.setattr(statistics, "covariances", counted)
    arguments = ["where", world().model, "--kinds", "fact", "--budget", "0.05", "--limit", "9", "--no-map"]
    arguments += ["--methods", "rome", "--out", str(tmp_path / "run"), "--datasets", world().facts]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert len(passes) == 1 and set(passes[0]) == {"mlp", "value", "attn"}


def test_the_map_is_in_the_budget(tmp_path: Path) -> None:
    arguments = ["where", world().model, "--kinds", "fact", "--budget", "0.05", "--limit", "9", "--methods", "rome"]
    result = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path / "run"), "--datasets", world().facts])
    assert result.exit_code == 0, result.output
    assert 0 < json.loads((tmp_path / "run" / "run.json").read_text())["asked"][-1]["budget"] < 0.05


def test_where_on_a_small_model_and_what_takes_its_file(tmp_path: Path) -> None:
    """Searched, stopped by its budget, begun again (nothing is measured twice), and taken by edit and bench."""
    arguments = ["where", world().model, "--kinds", "fact", "--budget", "0.05", "--limit", "9", "--no-map"]
    arguments += ["--methods", "rome", "--out", str(tmp_path / "run"), "--datasets", world().facts, "--probes", "1"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "harmonic mean" in result.output and "valley edit --model" in result.output
    cells = set((tmp_path / "run" / "cells").glob("*.parquet"))
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["plan"]["probes"] == 1
    again = CliRunner().invoke(cli, [*arguments[:5], "0.01", *arguments[6:], "--every", "1"])
    assert again.exit_code == 0 and "places (every layer, every site and lookup) by rome" in again.output
    assert cells <= set((tmp_path / "run" / "cells").glob("*.parquet"))
    file = str(tmp_path / "run" / "where.toml")
    edited = CliRunner().invoke(cli, ["edit", "--model", world().model, "--fact", world().facts, "--at", file])
    assert edited.exit_code == 0, edited.output
    taken = ["bench", "--model", world().model, "--at", file, "--out", str(tmp_path / "bench"), "--limit", "2"]
    taken += ["--datasets", world().facts, "--corpus", "samples:500"]
    swept = CliRunner().invoke(cli, [*taken, "--kinds", "fact"])
    assert swept.exit_code == 0, swept.output
    refused = CliRunner().invoke(cli, taken)
    assert refused.exit_code == 2 and "name one kind with --kinds" in refused.output
    both = CliRunner().invoke(
        cli, ["edit", "--model", world().model, "--rename", "a=b", "--at", file, "--method", "rome"]
    )
    assert both.exit_code == 2 and "give one of them" in both.output


def test_a_kind_that_is_none_is_refused_before_the_map() -> None:
    """It ended in a KeyError, after the causal tracing."""
    assert "--kinds facts: no such kind of edit; use one or more of fact" in refused(
        "where", "nobody/gone", "--kinds", "facts"
    )
    assert "no method 'romee'" in refused("where", "nobody/gone", "--methods", "romee")
