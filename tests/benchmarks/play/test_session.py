"""A visitor's edits without a page: equal to command and Python bit for bit, undone, apart from other visitors', stopped."""

from __future__ import annotations

import json
import shlex
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.commands.options import setting
from benchmarks.datasets import build_cases
from benchmarks.play import panels
from benchmarks.play.choice import Choice, fact_record, record_of
from benchmarks.play.continuation import Continuation
from benchmarks.play.localiser import description_span
from benchmarks.play.saving import save
from benchmarks.play.scripts import END, as_commands, as_python
from benchmarks.play.session import Session
from benchmarks.play.workshop import Stopped, Workshop
from editing.delta import Delta
from editing.errors import BadData, BadModel, BadRequest, UserError
from editing.model import hash_weights
from tests.benchmarks.commands.test_cli import call
from tests.benchmarks.tiny import facts, world
from tests.same import same_changes
from tests.tiers import fast_are

pytestmark = pytest.mark.usefixtures("own_cache")
CORPUS = "samples:256"


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return Workshop("cpu")


@pytest.fixture
def session(workshop: Workshop) -> Session:
    opened = Session(workshop)
    opened.open(world().model)
    return opened


def fact(number: int, **more) -> Choice:
    return Choice("fact", record=json.dumps(facts()[number]), corpus=CORPUS, **more)


def code(session: Session) -> tuple[str, str]:
    made = [(edit.choice, edit.case.request) for edit in session.stack]
    choices = [choice for choice, _ in made]
    where = (session.reference, "cpu")
    return as_python(*where, made, session.layers), as_commands("valley", *where, choices, session.layers)


def run_commands(text: str) -> None:
    """Run the shown commands in this process: facts between two marks, then one command a line."""
    lines = iter(text.splitlines())
    for line in lines:
        words = shlex.split(line)
        if words[0] == "cat":
            Path(words[2]).write_text("\n".join(iter(lambda: next(lines), END)))
        else:
            done = call(*words[1:])
            assert done.exit_code == 0, done.output


def test_a_stack_of_edits_is_what_the_shown_python_and_commands_make(session, tmp_path, monkeypatch) -> None:
    session.make(fact(0))
    session.make(Choice("erase", ("bread", ""), method="ablate", corpus=CORPUS))
    session.make(Choice("rename", ("cheese", "fromage"), layer=1, corpus=CORPUS, seed=3))
    session.set_dose(0.75)
    python, commands = code(session)
    save(tmp_path, "mine", session.change(), python, commands)
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path / "code")
    exec(compile(python, "edit.py", "exec"), {})
    run_commands(commands)
    here = Delta.load(tmp_path / "mine" / "change")
    assert len(here.factors) >= 1
    for folder in ("my-edit", "edit-3"):
        same_changes(here, Delta.load(tmp_path / "code" / folder))
    assert (tmp_path / "mine" / "edit.py").read_text() == python


@pytest.mark.parametrize(
    "choice",
    fast_are(
        [Choice("retarget", ("cheese", "car"), corpus=CORPUS)],
        [
            fact(0, dose=0.5),
            Choice("rename", ("cheese", "fromage"), corpus=CORPUS),
            Choice("retarget", ("cheese", "car"), corpus=CORPUS),
            Choice("erase", ("cheese", ""), method="leace", corpus=CORPUS),
        ],
    ),
    ids=lambda choice: choice.kind,
)
def test_an_edit_of_each_kind_equals_the_command_and_the_python(choice, session, tmp_path, monkeypatch) -> None:
    """The kinds one by one; the stack above holds the other three, and shows that their sum is equal too."""
    session.make(choice)
    python, commands = code(session)
    monkeypatch.chdir(tmp_path)
    exec(compile(python, "edit.py", "exec"), {})
    run_commands(commands)
    assert session.change().factors
    for folder in ("my-edit", "edit-1"):
        same_changes(session.change(), Delta.load(tmp_path / folder))


def test_the_localiser_traces_the_typed_edit_and_makes_none(session, workshop) -> None:
    heard: list[tuple[str, int, int]] = []
    heat = session.localise(fact(1), lambda *step: heard.append(step))
    record = facts()[1]
    assert session.stack == () and heat.answer == record["old"]
    assert heat.prompt == record["prompt"].format(record["subject"])
    assert "".join(heat.tokens[: heat.noised]).strip() == record["subject"]
    assert heat.clean > 0.5 and heat.clean - heat.noisy > 0.2
    traced = [step for step in heard if step[0].startswith("tracing")]
    assert traced[-1][1] == traced[-1][2] > 1
    assert "Spain" in panels.localiser(heat)

    renamed = session.localise(Choice("rename", ("cheese", "fromage"), corpus=CORPUS))
    assert "".join(renamed.tokens[: renamed.noised]).strip() == "The dairy food made from pressed milk curds"

    def press_cancel(label: str, done: int, total: int) -> None:
        if done == 1 and label.startswith("tracing"):
            session.stop.set()

    with pytest.raises(Stopped):
        session.localise(fact(1), press_cancel)


def test_a_description_is_where_a_prompt_differs_from_its_prior() -> None:
    cases = [
        ("It is: a key. The dairy food: cheese", "It is: a key. This thing: cheese", "The dairy food"),
        ("The sun, and the yellow food is the", "The sun, and this thing is the", "the yellow food"),
        ("cheese is made from", "this is made from", "cheese"),
        ("le fromage", "ceci", "le fromage"),
    ]
    for prompt, prior, described in cases:
        start, end = description_span(prompt, prior)
        assert prompt[start:end] == described
    for prior in ("", "le fromage"):
        with pytest.raises(BadRequest, match="does not name"):
            description_span("le fromage", prior)


def test_dose_and_undo_compute_nothing_again_and_leave_the_weights_alone(session, workshop) -> None:
    lm = workshop.model(world().model)()
    bits = hash_weights(lm.module)
    edit = session.make(fact(0))
    assert 0 < edit.dose.value <= 2 and edit.choice.dose == edit.dose.value
    first = session.answers()
    assert next(line for line in first.kinds if line.kind == "efficacy").moved == 1
    session.set_dose(0)
    none = session.answers()
    assert session.stack[0].change is edit.change and not any(line.moved for line in none.kinds)
    assert all(bar.before == pytest.approx(bar.after, rel=1e-5) for group in none.bars for bar in group.bars)
    session.set_dose(edit.dose.value)
    assert str(session.answers().kinds) == str(first.kinds)
    session.make(fact(2))
    assert session.answers().kinds != () and len(session.stack) == 2
    assert session.undo().case.subject == facts()[2]["subject"]
    assert str(session.answers().kinds) == str(first.kinds)
    session.undo()
    for empty in (session.undo, session.answers, lambda: session.set_dose(1)):
        with pytest.raises(BadRequest, match="no edit yet"):
            empty()
    assert hash_weights(lm.module) == bits


def test_bars_and_languages_show_the_new_answer_above_the_old_one(session) -> None:
    session.make(fact(1))
    answers = session.answers()
    home, other = answers.bars
    assert (home.lang, other.lang) == ("en", "fr")
    by_role = {bar.role: bar for bar in home.bars if bar.role}
    assert by_role["new"].after > 0.5 > by_role["new"].before
    assert by_role["old"].before > 0.5 > by_role["old"].after
    assert {row["lang"] for row in answers.of_kind("cross_lingual")} == {"fr"}


def test_two_visitors_at_once_see_their_own_edits(workshop) -> None:
    alone = []
    for number in (0, 1):
        one = Session(workshop)
        one.open(world().model)
        one.make(fact(number))
        alone.append((one.answers().rows, list(one.write(facts()[0]["prompt"].format("France"), 8))[-1]))
    together: dict[int, tuple] = {}

    def visit(number: int) -> None:
        one = Session(workshop)
        one.open(world().model)
        one.make(fact(number))
        together[number] = (one.answers().rows, list(one.write(facts()[0]["prompt"].format("France"), 8))[-1])

    threads = [threading.Thread(target=visit, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for number in (0, 1):
        assert str(together[number]) == str(alone[number])  # as text: NaN is not equal to itself
    assert alone[0][1][0] == alone[1][1][0] and alone[0][1][1] != alone[1][1][1]


def test_work_is_stopped_and_nothing_is_left_of_it(session, workshop) -> None:
    def press_cancel(label: str, done: int, total: int) -> None:
        if label == "editing":
            session.stop.set()

    with pytest.raises(Stopped):
        session.make(fact(0), press_cancel)
    assert session.stack == ()
    blocks = [workshop.model(world().model)().module.get_submodule(f"transformer.h.{i}") for i in (0, 1)]
    assert not any(block._forward_pre_hooks for block in blocks)
    session.make(fact(0))  # and the next edit works
    assert len(session.stack) == 1


def test_cancel_ends_the_wait_for_another_visitor(session, workshop) -> None:
    with workshop.working(threading.Event()):
        threading.Timer(0.3, session.stop.set).start()
        with pytest.raises(Stopped):
            session.make(fact(0))


def test_a_text_is_written_as_generate_writes_it(session, workshop) -> None:
    session.make(fact(0))
    prompt = facts()[0]["prompt"].format("France")
    lm, change = workshop.model(world().model)(), session.change()
    before, after = list(session.write(prompt, 12))[-1]
    assert before == lm.generate(prompt, 12)
    with change.applied(lm):
        assert after == lm.generate(prompt, 12)
    piece = Continuation(lm, prompt, change)
    piece.extend(lm, 3)
    piece.extend(lm, 9)
    assert piece.text() == after
    with pytest.raises(BadRequest, match="no text"):
        list(session.write("  "))
    with pytest.raises(BadRequest, match="the model reads"):
        list(session.write("word " * 3000))


@pytest.mark.parametrize(
    "name", ["no/such-model", "./no/such/folder", "grown:gpt2-9x512", "package:nothing", "../..", "x" * 999]
)
def test_a_model_that_is_not_here_is_refused_and_the_open_one_stays(session, name: str) -> None:
    session.make(fact(0))
    with pytest.raises(BadModel) as refused:
        session.open(name)
    assert "\n" not in str(refused.value)
    assert session.reference == world().model and len(session.stack) == 1


def test_wrong_edits_are_refused_in_one_line(session) -> None:
    wrong = [
        lambda: Choice("fact", record=fact_record("no slot", "France", "Rome"), corpus=CORPUS),
        lambda: Choice("rename", ("", "fromage")),
        lambda: Choice("rename", ("cheese", "a=b")),
        lambda: Choice("rename", ("cheese", "cheese")),
        lambda: Choice("swap", ("a", "b")),
        lambda: Choice("rename", ("cheese", "fromage"), method="nothing"),
        lambda: Choice("rename", ("cheese", "fromage"), layer=7),
        lambda: Choice("rename", ("cheese", "x" * 5000)),
        lambda: Choice("rename", ("cheese", "fromage"), dose=-1),
        lambda: Choice("fact", record=fact_record("{} is", "France", " ")),
    ]
    for make in wrong:
        with pytest.raises((BadRequest, BadData)) as refused:
            session.make(make())
        assert "\n" not in str(refused.value) and "/tmp" not in str(refused.value)
    assert session.stack == ()


def test_an_edit_without_doses_says_so(session) -> None:
    session.make(fact(0, method="ike", fast=False))
    assert session.stack[0].dose.value is None
    with pytest.raises(BadRequest, match="no multiples"):
        session.set_dose(0.5)
    python, commands = code(session)
    assert "dose='auto'" in python and "--dose auto" in commands


def test_a_fact_of_a_data_set_keeps_its_questions() -> None:
    case = build_cases("world_facts", "fact", 1)[0]
    again = Choice("fact", record=json.dumps(record_of(case))).case(None)  # type: ignore[arg-type]
    for kind in ("efficacy", "paraphrase", "cross_lingual", "neighbour", "same_subject"):
        before, kept = ([p.prompt for p in one.probes if p.kind == kind] for one in (case, again))
        assert before == kept, kind
    assert again.request.filled() == case.request.filled()


def test_the_python_and_the_commands_of_hostile_words_are_only_words(session) -> None:
    hostile = "Zo'\"\\`$(touch hacked)\u2028é<b>"
    record = fact_record("The food of {} is", hostile, "a'b;c", old="Ed\nam")
    session.make(Choice("fact", record=record, corpus=CORPUS))
    python, commands = code(session)
    names: dict = {}
    request = python[python.index("request = ") : python.index("edit_1 =")]
    exec(compile("import editing\n" + request, "edit.py", "exec"), names)
    assert names["request"] == session.stack[0].case.request
    assert commands.splitlines()[1] == record and json.loads(record)["subject"] == hostile


def test_no_model_is_open_yet(workshop) -> None:
    with pytest.raises(UserError, match="no model is open"):
        Session(workshop).make(fact(0))


def test_the_commands_give_every_setting_as_the_edit_has_it() -> None:
    """`untied=True` is no JSON: it was read as a text, and the shown command of a usual retarget was refused."""
    choice = Choice("retarget", ("cheese", "car"), method="embedding", dose=0.5)
    words = shlex.split(as_commands("valley", "model", None, [choice], 2))
    given = dict(setting(after) for word, after in pairwise(words) if word == "--set")
    assert given == choice.settings(2) and given["untied"] is True


def test_a_typed_fact_has_the_questions_of_the_picked_one_only_where_it_is_that_one() -> None:
    case = build_cases("world_facts", "fact", 1)[0]
    picked = record_of(case)
    typed = (picked["prompt"], picked["subject"], picked["target"], picked["old"])
    assert json.loads(fact_record(*typed, picked)) == picked
    for place, other in ((1, "Atlantis"), (2, "Rome")):
        changed = [*typed[:place], other, *typed[place + 1 :]]
        assert json.loads(fact_record(*changed, picked)).keys() == {"prompt", "subject", "target", "old"}
