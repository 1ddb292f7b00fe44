"""Retargeting: every question has its twins, the margins are those of really changed weights, nothing moves without an
edit, sweeps go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.live.retarget.agreement import agreements, cohen_kappa, pearson
from benchmarks.live.retarget.draws import draw_weights, interval
from benchmarks.live.retarget.panel import FRAMES, GOAL, HELD_OUT, SHARED, SIBLING, TRAINED, retarget_panel
from benchmarks.live.retarget.run import QUESTIONS, Retargeting, moved, run_retarget, share
from benchmarks.live.retarget.scores import by_relation, by_sibling, summary
from benchmarks.live.retarget.sweep import sweep_retarget
from benchmarks.live.retarget.table import format_retargeting
from benchmarks.measure.answers import PRIOR_WEIGHT
from benchmarks.models import load_model
from editing.delta.delta import Delta
from editing.errors import BadData, BadModel, BadRequest
from editing.methods import make_method
from editing.stats.statistics import ModelStatistics
from tests.benchmarks.commands.test_cli import call, refused
from tests.benchmarks.tiny import World, world
from tests.editing.reference_evaluate import continuation_logprobs as slow_logprobs

pytestmark = pytest.mark.usefixtures("own_cache")

CORPUS = "samples:500"
QUICK = {"steps": 4, "contexts_per_step": 1}


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


@pytest.fixture(scope="module")
def done(tiny: World) -> Retargeting:
    return run_retarget(tiny.model, "cheese", "bread", ("rome", "steer"), QUICK, "cpu", corpus=CORPUS)


def test_every_question_has_its_twins_in_the_same_frame() -> None:
    panel = retarget_panel("cheese", "bread")
    own = [q for q in panel.questions if q.role in (TRAINED, HELD_OUT, SHARED)]
    assert {q.relation: q.role for q in own} == {
        "person": TRAINED, "material": TRAINED, "color": HELD_OUT, "category": SHARED, "place": SHARED, "activity": SHARED,
    }  # fmt: skip
    assert len(own) == 6 * sum(FRAMES) and {q.lang for q in own} == {"en", "fr"}
    assert set(panel.siblings) == {"butter", "egg", "honey", "apple", "cake", "meat"}
    edited = {p.prompt for p in panel.case.probes if p.kind == "efficacy"}
    assert edited == set(panel.case.request.filled())
    for question in own:
        twins = [q for q in panel.questions if q.frame == question.frame]
        assert {(q.probe.candidates, q.probe.prior, q.goal) for q in twins} == {
            (question.probe.candidates, question.probe.prior, question.goal)
        }
        assert all(q.own in q.probe.candidates for q in twins)
        starts = {q.own for q in twins if q.role != GOAL and q.own != q.goal}
        assert starts == {q.own for q in twins if q.role == GOAL}
        assert {q.about for q in twins if q.role == SIBLING} <= set(panel.siblings)


def test_relations_that_the_goal_lacks_are_told() -> None:
    panel = retarget_panel("cheese", "dog")
    assert [line.partition(":")[0] for line in panel.left_out] == ["color", "material"]
    assert "color" not in {q.relation for q in panel.questions}


def test_margins_are_those_of_changed_weights(tiny: World, done: Retargeting) -> None:
    lm, panel = load_model(tiny.model, device="cpu"), retarget_panel("cheese", "bread")
    method = make_method("rome", **QUICK)
    (delta,) = method.each(lm, [panel.case.request], ModelStatistics(lm, corpus=CORPUS))
    table = done.questions[done.questions["by"] == "rome"].reset_index(drop=True)

    nothing = Delta({})

    def margin(question, prompt: str, change: Delta = nothing) -> float:
        goal, own = slow_logprobs(lm, [prompt], [(question.goal, question.own)], [change], [0])[0]
        return float(goal - own)

    for i in range(0, len(panel.questions), 29):
        question, row = panel.questions[i], table.iloc[i]
        prior = PRIOR_WEIGHT * margin(question, question.probe.prior)
        assert row["margin_before"] == pytest.approx(margin(question, question.probe.prompt) - prior, abs=1e-3)
        assert row["margin_after"] == pytest.approx(margin(question, question.probe.prompt, delta) - prior, abs=1e-3)
    one = table[(table["role"] == TRAINED) & (table["template"] == 0)].iloc[0]
    goal = table[(table["role"] == GOAL) & (table["prompt"] != one["prompt"]) & (table["own"] == one["own"])]
    goal = goal[(goal["relation"] == one["relation"]) & (goal["lang"] == "en") & (goal["template"] == 0)].iloc[0]
    assert one["distance"] == pytest.approx(goal["margin_before"] - one["margin_before"])
    gone = (table["margin_after"] - table["margin_before"]).abs()
    assert gone.max() > 0.1, "an edit that changes nothing would agree with anything"


@pytest.mark.slow
def test_no_edit_moves_nothing_and_keeps_everything(tiny: World) -> None:
    still = run_retarget(tiny.model, "cheese", "dog", ("steer",), {**QUICK, "strength": 0.0}, "cpu", corpus=CORPUS)
    assert np.allclose(moved(still.questions).dropna(), 0, atol=1e-4)
    (line,) = summary(still)
    for lang in ("en", "fr"):
        assert line[f"net_{lang}"] == pytest.approx(0, abs=1e-4)
        assert line[f"hits_{lang}_before"] == line[f"hits_{lang}_after"]
        assert line[f"drift_{lang}"] == pytest.approx(1, abs=1e-5)
        assert line[f"siblings_kept_{lang}"] in (1.0,) or np.isnan(line[f"siblings_kept_{lang}"])


def lines(role: str, about: str, gone: float, way: float, relation: str = "color", **more) -> dict:
    base = dict.fromkeys(QUESTIONS, "") | {"by": "rome", "lang": "en", "template": 0, "own": "yellow", "goal": "brown"}
    numbers = {"margin_before": -1.0, "margin_after": gone - 1.0, "distance": way, "relation": relation}
    return base | {"role": role, "about": about, "pick_before": "yellow", "pick_after": "yellow"} | numbers | more


def test_shares_are_nats_gone_over_nats_to_go() -> None:
    table = pd.DataFrame([
        lines(TRAINED, "cheese", 3.0, 4.0, pick_after="brown"), lines(TRAINED, "cheese", 1.0, 1.0, template=1),
        lines(TRAINED, "cheese", 9.0, 0.2, template=2), lines(SIBLING, "butter", 1.0, 2.0),
        lines(SIBLING, "butter", 5.0, np.nan, own="brown", pick_before="brown", template=1), lines(GOAL, "bread", -1.0, np.nan),
    ])  # fmt: skip
    assert share(table[table["role"] == TRAINED]) == pytest.approx(4 / 5), "the third has no way to go"
    assert list(moved(table)[:2]) == [0.75, 1.0] and moved(table)[2:3].isna().all()
    (row,) = by_relation(table).to_dict("records")
    assert (row["hits_before"], row["hits_after"], row["n"]) == (0, 1, 3)
    assert row["siblings"] == 0.5 and row["net"] == pytest.approx(0.3)
    butter = by_sibling(table).set_index("about").loc["butter"]
    assert butter["moved_en"] == 0.5 and "moved_fr" not in butter
    assert (butter["known_en"], butter["kept_en"]) == (2, 0.5), "of two right answers one became another"


def test_kappa_and_correlation_by_hand() -> None:
    a, b = np.repeat([1.0, 1, 0, 0], [20, 5, 10, 15]), np.repeat([1.0, 0, 1, 0], [20, 5, 10, 15])
    ones = np.ones((1, 50))
    assert cohen_kappa(ones, a, b)[0] == pytest.approx(0.4)  # p_o = .7, p_e = .5
    assert cohen_kappa(ones, a, a)[0] == pytest.approx(1)
    assert np.isnan(cohen_kappa(ones, a, np.ones(50))[0])
    x, y = np.random.default_rng(0).normal(size=(2, 50))
    assert pearson(ones, x, y)[0] == pytest.approx(np.corrcoef(x, y)[0, 1])
    weights = np.random.default_rng(1).integers(0, 3, (1, 50)).astype(float)
    drawn = np.repeat(np.arange(50), weights[0].astype(int))
    assert pearson(weights, x, y)[0] == pytest.approx(np.corrcoef(x[drawn], y[drawn])[0, 1])


def test_the_interval_of_a_correlation_covers_its_truth() -> None:
    rng, hit, rounds = np.random.default_rng(3), 0, 150
    relation = np.repeat([f"r{i}" for i in range(8)], 8)
    for i in range(rounds):
        x = rng.normal(size=64)
        y = 0.6 * x + 0.8 * rng.normal(size=64)
        low, high = interval(pearson(draw_weights(relation, i), x, y), 8)
        hit += low <= 0.6 <= high
    assert 0.85 <= hit / rounds <= 1


def test_agreement_is_of_steering_with_each_other_method(done: Retargeting) -> None:
    result = agreements(done.questions)
    assert [(one.a, one.b, one.group) for one in result] == [("rome", "steer", g) for g in ("concept", "siblings")]
    assert result[0].n == 3 * sum(FRAMES) and result[0].relations == 3 and np.isfinite(result[0].r)
    rome = done.questions[done.questions["by"] == "rome"]
    same = agreements(pd.concat([rome, rome.assign(by="steer")]))
    assert all(one.r == pytest.approx(1) and one.r_interval == pytest.approx((1, 1)) for one in same)
    assert not agreements(rome), "one method agrees with nobody"


def test_the_text_names_every_relation_and_sibling(done: Retargeting) -> None:
    text = format_retargeting(done)
    for word in (
        *done.siblings,
        "color",
        "material",
        "held out",
        "bread (the goal)",
        "net transfer",
        "unrelated text kept",
    ):
        assert word in text
    assert text.count("siblings moved:") == 2 and "rome and steer on the concept" in text
    assert max(map(len, text.splitlines())) < 240


@pytest.mark.slow
def test_a_sweep_goes_on_and_refuses_another_request(tiny: World, tmp_path: Path) -> None:
    def sweep(ladder: str = tiny.ladder, goal: str = "dog", said: list | None = None, **settings):
        say = (said if said is not None else []).append
        chosen = {**QUICK, **settings}
        return sweep_retarget(ladder, "cheese", goal, ("rome",), chosen, "cpu", corpus=CORPUS, out=tmp_path, say=say)

    first = sweep()
    assert first.kept == 0 and list(first.table["rung"]) == ["one", "two"] and not first.failed
    table = (tmp_path / "retarget.csv").read_bytes()
    (tmp_path / "rungs" / "two.json").unlink()
    said: list[str] = []
    again = sweep(said=said)
    assert again.kept == 1 and said == ["rung 2 of 2: two"]
    stable = [c for c in first.table.columns if c != "seconds"]
    pd.testing.assert_frame_equal(again.table[stable], first.table[stable])
    assert sweep(said=said).kept == 2 and len(said) == 1
    assert pd.read_csv(tmp_path / "retarget.csv").shape == again.table.shape and table
    with pytest.raises(BadData, match=r"one\.json: of another request \(goal"):
        sweep(goal="bread")
    with pytest.raises(BadData, match=r"of another request \(methods\); use another --out"):
        sweep(steps=5)
    (tmp_path / "rungs" / "one.json").write_text("{")
    with pytest.raises(BadData, match="delete it to measure it again"):
        sweep()


def test_a_rung_that_fails_is_told_and_the_others_go_on(tiny: World, tmp_path: Path) -> None:
    ladder = tiny.write_ladder("broken", gone=str(tmp_path / "nothing"), one=str(tiny.folder / "one"))
    result = call("retarget", "--sweep", ladder, "--from", "cheese", "--to", "dog", "--by", "steer", "--set", "steps=2",
                  "--corpus", CORPUS, "--device", "cpu", "--out", tmp_path / "out", "--json")  # fmt: skip
    assert result.exit_code == 1
    outcome = json.loads(result.stdout)
    assert [line["rung"] for line in outcome["rungs"]] == ["one"] and "rung gone" in outcome["failed"][0]


@pytest.mark.slow
def test_json_on_the_command_line(tiny: World) -> None:
    result = call("retarget", "--model", tiny.model, "--from", "cheese", "--to", "dog", "--by", "steer", "--fast",
                  "--set", "steps=2", "--corpus", CORPUS, "--device", "cpu", "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    results = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert results["concept"] == "cheese" and results["made"][0]["settings"]["contexts_per_step"] == 3
    assert {line["about"] for line in results["sibling_scores"]} == {*results["siblings"], "dog"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "nothing names the model; give --model REF"),
        (("--model", "gpt2", "--ladder", "demo"), "--model and --ladder both name the model"),
        (("--model", "gpt2", "--out", "x"), "--out needs --ladder"),
        (("--model", "gpt2", "--methods", "romeo"), "romeo"),
        (("--model", "gpt2", "--methods", ","), "no method to retarget by"),
        (("--model", "gpt2", "--set", "strength=1"), "none of rome has a setting 'strength'"),
        (("--model", "nobody/gone", "--to", "breed"), "not in the local hub cache"),  # before anything is drafted
        (("--model", "gpt2", "--to", "cheese"), "choose another pair"),
        (("--sweep", "demos"), "demo"),
        (("--model", "nobody/gone", "--corpus", "text:/nope"), "/nope"),  # before the model
        (("--ladder", "demo", "--corpus", "text:/nope"), "/nope"),
        (("--model", "nobody/gone", "--corpus", "samples:many"), "samples:NUMBER"),
    ],
)
def test_mistakes_are_one_line(more: tuple[str, ...], message: str) -> None:
    assert message in refused("retarget", "--from", "cheese", "--to", "dog", *more)


def test_mistakes_come_before_the_model() -> None:
    with pytest.raises(BadRequest, match="choose another pair"):
        run_retarget("no such model", "cheese", "cheese")
    with pytest.raises(BadModel):
        run_retarget("./no-such-folder", "cheese", "dog")


def test_a_part_of_a_ladder_keeps_its_place_and_what_is_there(tiny: World, tmp_path: Path) -> None:
    """With --rungs the place in the table was that among the chosen rungs, and the file lost the other rungs."""
    common = ("retarget", "--ladder", tiny.ladder, "--from", "cheese", "--to", "dog", "--methods", "steer", "--json")
    common += ("--set", "steps=1", "--corpus", "identity", "--device", "cpu", "--out", tmp_path)
    for rung, place in (("two", 1), ("one", 0)):
        (line,) = json.loads(call(*common, "--rungs", rung).stdout)["rungs"]
        assert (line["rung"], line["rung_index"]) == (rung, place)
    table = pd.read_csv(tmp_path / "retarget.csv")
    assert table[["rung", "rung_index"]].values.tolist() == [["one", 0], ["two", 1]]
    again = json.loads(call(*common, "--rungs", "two").stdout)
    assert again["kept"] == 1 and [line["rung"] for line in again["rungs"]] == ["two"]
    assert len(pd.read_csv(tmp_path / "retarget.csv")) == 2


def test_a_sweep_goes_by_the_text_of_its_corpus(tiny: World, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A quiet river runs through the old town. " * 200)
    corpus = f"text:{tmp_path / 'a.txt'}"

    def sweep():
        settings = {"steps": 1, "strength": 1.0}
        return sweep_retarget(
            tiny.ladder,
            "cheese",
            "dog",
            ("steer",),
            settings,
            "cpu",
            corpus=corpus,
            out=tmp_path / "out",
            rungs=("one",),
        )

    assert sweep().kept == 0 and sweep().kept == 1
    (tmp_path / "a.txt").write_text("Nobody minds the old town. " * 200)
    with pytest.raises(BadData, match=r"of another request \(texts\)"):
        sweep()
