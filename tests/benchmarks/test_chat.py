"""The chat form: what stands around a prompt, what an edit in it edits, cells of before keep their addresses."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.cases import Probe
from benchmarks.chat import ChatForm, chat_form, chat_option, in_chat
from benchmarks.datasets.registry import build_cases
from benchmarks.live.chat import CHANGED, KEPT, _some, case_means, summary
from benchmarks.sweep.planning.plan import Plan
from editing.errors import BadData, BadModel
from editing.methods import make_method, placebo_for
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
    for plain, chat_probe in zip(case.probes, chat.probes, strict=True):
        if plain.kind == "drift":
            assert chat_probe == plain
            continue
        assert chat_probe.prompt == f"<user>{plain.prompt}</user><bot>"
        assert chat_probe.prior == (f"<user>{plain.prior}</user><bot>" if plain.prior else "")
        assert (chat_probe.candidates, chat_probe.answer, chat_probe.old) == (plain.candidates, plain.answer, plain.old)
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
    (tmp_path / "t.jinja").write_text(f"\ufeff{TEMPLATE}", encoding="utf-8")
    assert chat_option(str(tmp_path / "t.jinja")) == TEMPLATE, "a byte order mark stood before every prompt"
    assert chat_option("off") == "" and chat_option("auto") == "auto"


def test_a_plan_of_before_keeps_its_hash() -> None:
    plain = Plan("demo", ("rome",), ("fact",), 3, 0)
    assert "chat" not in plain.fixed() and replace(plain, chat="auto").hash != plain.hash


def test_survival_by_hand() -> None:
    """Three cases of an edit made in plain text: in chat form half of what it gains above the placebo is left."""
    rows = [
        {"probe": "efficacy", "value": 1.0},
        {"probe": "neighbour", "value": 1.0},
        {"probe": "neighbour", "value": 0.0},
    ]
    assert case_means(rows) == {"efficacy": 1.0, "neighbour": 0.5}

    def table(**kinds: list[float]) -> pd.DataFrame:
        return pd.DataFrame(kinds).reindex(columns=[*CHANGED, *KEPT]).astype(float)

    kept = {"neighbour": [1.0, 0.5, nan], "same_subject": [1.0, 1.0, 1.0]}
    nothing = table(efficacy=[0.0, 0.0, 0.0], paraphrase=[0.25, 0.25, 0.25], **kept)
    plain = table(efficacy=[1.0, 1.0, 1.0], paraphrase=[1.0, 1.0, 0.25], **kept)
    chat = table(efficacy=[1.0, 0.5, 0.0], paraphrase=[0.25, 1.0, 0.25], **kept)
    lines = {
        (one["evaluated"], one["score"]): one
        for one in summary({"plain": (plain, nothing), "chat": (chat, nothing)}, "plain", 0)
    }
    gained, specificity = (0.75 - 0.25) / 0.75, (0.75 + 1) / 2
    assert lines["plain", "net paraphrase"]["value"] == pytest.approx(gained)
    assert lines["plain", "composite"]["value"] == pytest.approx(2 * gained * specificity / (gained + specificity))
    assert lines["plain", "neighbour"]["n"] == 2
    assert lines["chat", "survives efficacy"]["value"] == pytest.approx(0.5)
    assert lines["chat", "survives paraphrase"]["value"] == pytest.approx(0.5)
    assert ("plain", "survives efficacy") not in lines
    gain = lines["plain", "net paraphrase"]
    assert gain["low"] < gained < gain["high"]
    none = {
        (one["evaluated"], one["score"]): one
        for one in summary({"plain": (nothing, nothing), "chat": (chat, nothing)}, "plain", 0)
    }
    assert none["plain", "composite"]["value"] == 0 and np.isnan(none["chat", "survives efficacy"]["value"])


def test_what_is_asked_and_what_the_control_is() -> None:
    (case,) = build_cases("world_facts", "fact", 1)
    kept = {(p.kind, p.lang) for p in _some(case).probes if p.kind in KEPT}
    assert kept == {("neighbour", "en"), ("same_subject", "en")}
    control = placebo_for("rome", {"clamp": 2.0, "lookup": "last"})
    assert control.method() == make_method("rome", clamp=2.0, lookup="last")
