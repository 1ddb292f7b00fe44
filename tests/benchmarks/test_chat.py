"""The chat form: what stands around a prompt, what an edit in it edits, cells of before keep their addresses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cases import Case, Probe
from benchmarks.chat import ChatForm, chat_form, chat_option, in_chat
from benchmarks.datasets.registry import build_cases
from benchmarks.live.chat import FORMS, KINDS, _means, _some, _summary
from benchmarks.sweep.planning.plan import Plan
from editing.errors import BadData, BadModel
from editing.text import fill
from editing.text.requests import EditRequest
from tests.benchmarks.tiny import tiny_model

TEMPLATE = (
    "{% for m in messages %}<user>{{ m.content }}</user>{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
)


@pytest.fixture(scope="module")
def lm():
    model = tiny_model(["The cat sat on the mat."])
    model.tokenizer.chat_template = TEMPLATE
    return model


def test_edit_and_probes_are_messages(lm) -> None:
    (case,) = build_cases("world_facts", "fact", 1)
    case = replace(case, probes=(*case.probes, Probe("drift", "A text."), Probe("fluency", "China")))
    (chat,) = in_chat(lm, [case], "auto")
    assert chat.request.filled() == tuple(f"<user>{p}</user><bot>" for p in case.request.filled())
    for plain, asked in zip(case.probes, chat.probes, strict=True):
        if plain.kind == "drift":
            assert asked == plain
            continue
        assert asked.prompt == f"<user>{plain.prompt}</user><bot>"
        assert asked.prior == (f"<user>{plain.prior}</user><bot>" if plain.prior else "")
        assert (asked.candidates, asked.answer, asked.old) == (plain.candidates, plain.answer, plain.old)
    assert in_chat(lm, [case], "") == (case,)


def test_braces_of_a_template_stay() -> None:
    form = ChatForm("{role: user} ", " {}")
    request = EditRequest("a", ("The {} is",), "cat", ("red",))
    assert form.request(request).filled() == ("{role: user} The cat is {}",)
    assert fill(form.request(request).prompts[0], "dog") == "{role: user} The dog is {}"


def test_the_first_token_comes_once(lm) -> None:
    first = lm.tokenizer.decode(list(lm.prefix_ids))
    form = chat_form(lm, first + TEMPLATE)
    assert first and form == ChatForm("<user>", "</user><bot>")


def test_models_and_templates_that_do_not_serve(lm, tmp_path: Path, capsys) -> None:
    plain = tiny_model(["The cat sat on the mat."], seed=1)
    assert chat_form(plain, "auto") is None and "no chat template" in capsys.readouterr().err
    with pytest.raises(BadModel, match="writes the message 2 times"):
        chat_form(plain, "{{ messages[0].content }}{{ messages[0].content }}")
    with pytest.raises(BadModel, match="its chat template fails"):
        chat_form(plain, "{{ raise_exception('no') }}")
    with pytest.raises(BadData, match="neither auto, off nor a readable template"):
        chat_option(str(tmp_path / "none"))
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    assert chat_option(str(tmp_path / "t.jinja")) == TEMPLATE
    assert chat_option("off") == "" and chat_option("auto") == "auto"


def test_a_plan_of_before_keeps_its_hash() -> None:
    plain = Plan("demo", ("rome",), ("fact",), 3, 0)
    assert "chat" not in plain.fixed() and replace(plain, chat="auto").hash != plain.hash


def test_survival_by_hand() -> None:
    rows = [
        {"probe": "efficacy", "value": 1.0},
        {"probe": "neighbour", "value": 1.0},
        {"probe": "neighbour", "value": 0.0},
    ]
    assert _means(rows) == {"efficacy": 1.0, "neighbour": 0.5}
    scores = [{"efficacy": 1.0, "neighbour": 0.5}, {"efficacy": 0.0}, {"efficacy": 1.0, "neighbour": 1.0}]
    lines = {line["kind"]: line for line in _summary(scores, 0)}
    assert lines["efficacy"]["value"] == pytest.approx(2 / 3) and lines["efficacy"]["n"] == 3
    assert lines["neighbour"]["value"] == 0.75 and lines["neighbour"]["n"] == 2
    (case,) = build_cases("world_facts", "fact", 1)
    assert {p.kind for p in _some(case).probes} <= set(KINDS) and len(FORMS) == 2
    assert isinstance(case, Case)
