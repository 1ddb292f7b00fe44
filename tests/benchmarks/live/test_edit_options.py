"""The command `edit`: number formats of the model, erasures, and the usual settings of renames and retargets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.live import USUAL, usual_settings
from benchmarks.live.defaults import OTHERS
from benchmarks.live.doubts import doubts
from benchmarks.live.retarget.run import chosen_methods
from editing.delta import Delta, compose
from editing.errors import BadRequest
from editing.methods import make_method
from editing.stats import ModelStatistics
from tests.benchmarks.commands.test_cli import call, refused
from tests.benchmarks.tiny import World, facts, world
from tests.editing.families import tiny_lm

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


def test_edit_in_another_number_format(tiny: World, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(facts()[:1]))
    common = ("edit", "--fact", tmp_path / "one.json", "--device", "cpu", "--corpus", "identity")
    common += ("--set", "lookup=last", "--set", "steps=4", "--json")
    half = json.loads(call(*common, "--model", tiny.model, "--dtype", "bfloat16").stdout)
    assert half["model"]["reference"] == f"{tiny.model}#bfloat16" and half["restored"]
    assert any("bfloat16 weights: " in note and "lost to rounding" in note for note in half["notes"])
    hooks = json.loads(call(*common, "--model", f"{tiny.model}#bfloat16", "--rounding", "hooks").stdout)
    assert hooks["form"] == "hooks" and not any("lost to rounding" in note for note in hooks["notes"])
    assert hooks["model"]["hash"] == half["model"]["hash"]
    assert "write it behind a reference" in refused("bench", "--ladder", tiny.ladder, "--dtype", "bfloat16")


def test_a_record_that_is_too_long_is_left_out_by_name_and_the_others_are_edited(tiny: World, tmp_path: Path) -> None:
    file, (fact, second) = tmp_path / "two.json", facts()[:2]
    common = ("edit", "--fact", file, "--model", tiny.model, "--device", "cpu", "--corpus", "identity")
    common += ("--set", "lookup=last", "--set", "steps=4")
    long = second | {"prompt": "word " * 1500 + second["prompt"]}
    file.write_text(json.dumps([fact, long]))
    edit = json.loads(call(*common, "--json").stdout)
    (note,) = (note for note in edit["notes"] if "left out" in note)
    assert note.startswith("fact:2:") and "longer than the model reads" in note and edit["restored"]
    assert len(edit["requests"]) == 1
    # a question that is too long is a row without a value
    file.write_text(json.dumps([fact | {"paraphrases": [long["prompt"], "word " + fact["prompt"]]}]))
    edit = json.loads(call(*common, "--json").stdout)
    rows = [row for row in edit["probes"] if row["probe"] == "paraphrase"]
    assert sorted(row["value"] is None for row in rows) == [False, True]
    assert [row["reason"] for row in rows if row["value"] is None] == ["longer than the model reads"]
    file.write_text(json.dumps([long]))
    assert "shorten the prompt or the target" in refused(*common)


def test_edit_erases_a_concept(tiny: World) -> None:
    common = ("edit", "--model", tiny.model, "--erase", "cheese", "--device", "cpu")
    edit = json.loads(call(*common, "--method", "ablate", "--json").stdout)
    assert edit["restored"] and edit["dose"]["value"] == 1 and edit["requests"][0]["contrast"]
    assert {"efficacy", "neighbour", "drift"} <= {row["probe"] for row in edit["summary"]}
    assert "--retarget and --erase" in refused(*common, "--retarget", "cheese=bread")


@pytest.mark.parametrize("given", [{"site": "mlp"}, {"depth": 0.5}, {"lookup": "last"}])
def test_the_usual_place_of_a_rename_is_taken_whole_or_not_at_all(given: dict) -> None:
    """What is no place stays beside a place that was given; the papers' settings and other methods get nothing."""
    usual = OTHERS["rename", "rome"]
    assert usual_settings("rename", *USUAL["rename"]) == USUAL["rename"][1]
    assert usual_settings("rename", "rome", {"contexts_per_step": 3}) == usual and usual["keep_weight"] > 0
    assert usual_settings("rename", "rome", given) == {"keep_weight": usual["keep_weight"]}
    assert usual_settings("rename", "rome", {"preset": "published"}) == {}
    assert usual_settings("rename", "memit", {}) == {} == usual_settings("fact", "rome", {})


def test_a_place_that_where_chose_is_taken_as_it_was_measured(tiny: World, tmp_path: Path) -> None:
    """The usual settings of a rename, `keep_weight` too, belong to another place and dose."""
    (tmp_path / "where.toml").write_text(
        '[rename]\nmethod = "rome"\ndose = 0.5\ndepth = 0.5\nlookup = "last"\nsteps = 2\n'
    )
    common = ("edit", "--model", tiny.model, "--rename", "cheese=fromage", "--device", "cpu", "--corpus", "identity")
    edit = json.loads(call(*common, "--at", tmp_path / "where.toml", "--json").stdout)
    assert edit["dose"]["value"] == 0.5 and edit["settings"]["depth"] == 0.5
    assert edit["settings"]["keep_weight"] == 0 and edit["settings"]["clamp"] == make_method("rome").settings()["clamp"]


def test_the_command_for_retargets_takes_their_usual_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `edit --retarget` does: of the usual method alone, and none of them beside a place that was given."""
    monkeypatch.setitem(USUAL, "retarget", ("rome", {"depth": 0.1, "kl": 0.5}))
    usual, other = chosen_methods(("rome", "memit"), {"steps": 4})
    assert (usual.depth, usual.kl, usual.steps) == (0.1, 0.5, 4) and (other.depth, other.steps) == (None, 4)
    (placed,) = chosen_methods(("rome",), {"depth": 0.9})
    assert (placed.depth, placed.kl) == (0.9, make_method("rome").kl)
    with pytest.raises(BadRequest, match="none of memit has a setting 'clmap'"):
        chosen_methods(("memit",), {"clmap": 1.0})


def test_what_the_lines_say_of_a_shift_and_of_a_wrapped_edit_that_moved(tiny: World, tmp_path: Path) -> None:
    """A shift of states was "relative norm of the change 0.0000", and a wrapper did not say that its edit moved."""
    (tmp_path / "one.json").write_text(json.dumps(facts()[:1]))
    common = ("edit", "--fact", tmp_path / "one.json", "--model", tiny.model, "--device", "cpu", "--corpus", "identity")
    assert "no weight is changed" in call(*common, "--method", "steer").stdout
    wrapped = call(*common, "--method", "rect", "--set", 'options={"move_above": 1e-9, "steps": 2}').stdout
    assert "rect: mlp at last" in wrapped and "edited at the last token instead of the subject's" in wrapped
    assert "directory" in refused(*common, "--csv", tmp_path)  # before any edit


def test_options_that_both_say_how_to_edit_are_refused_or_obeyed(tiny: World, tmp_path: Path) -> None:
    """`bench --at` took the method of the file beside --methods, and `edit --at --dose auto` its dose, without a word."""
    where = tmp_path / "where.toml"
    where.write_text('[fact]\nmethod = "rome"\ndose = 0.5\nlookup = "last"\nsteps = 2\n')
    bench = ("bench", "--model", tiny.model, "--at", where, "--kinds", "fact", "--out", tmp_path / "run", "--dry-run")
    for option, value in (("--methods", "memit"), ("--sites", "value")):
        assert f"and {option} both say how to edit" in refused(*bench, option, value)
    (tmp_path / "one.json").write_text(json.dumps(facts()[:1]))
    common = ("edit", "--model", tiny.model, "--fact", tmp_path / "one.json", "--device", "cpu", "--corpus", "identity")
    for more, searched in (((), False), (("--dose", "auto"), True)):
        edit = json.loads(call(*common, "--at", where, *more, "--json").stdout)
        assert (edit["dose"]["reached"] >= 0) == searched, more


@pytest.mark.parametrize("command", ["chat", "languages", "sequence"])
def test_a_setting_that_no_method_has_is_refused(command: str, tmp_path: Path) -> None:
    """It was dropped without a word."""
    common = (command, "--model", "nobody/gone", *(("--out", tmp_path / "out") if command == "sequence" else ()))
    assert "none of rome has a setting 'colour'" in refused(*common, "--methods", "rome", "--set", "colour=red")
    assert "--methods names no method" in refused(*common, "--methods", ",")


def test_a_chat_without_a_second_form_is_refused() -> None:
    assert "no second form to compare" in refused("chat", "--model", "nobody/gone", "--chat", "off")


def test_the_doubts_of_a_composed_change_are_those_of_its_parts() -> None:
    """With `edit --add` the warning about a key of the new change was lost."""
    lm = tiny_lm("gpt2")
    made = Delta({}, {"method": "rome", "warnings": ["a small cosine"]})
    assert doubts(lm, ModelStatistics(lm, corpus="identity"), made) == ["a small cosine"]
    both = compose([Delta({}, {"method": "rome"}), made])
    assert doubts(lm, ModelStatistics(lm, corpus="identity"), both) == ["a small cosine"]
