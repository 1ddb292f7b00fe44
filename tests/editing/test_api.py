"""The Python interface: the script of the documentation, word for word, in a folder of its own."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

import editing
from editing.errors import BadRequest
from editing.model import hash_weights
from tests.benchmarks.tiny import save_tiny
from tests.editing.references.model_files import lay_out
from tests.same import same_changes

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import editing
lm = editing.load("HuggingFaceTB/SmolLM2-135M", dtype="bfloat16", device="cuda")
request = editing.Request("The capital of {} is", "France", "Rome")
delta = editing.edit(lm, request, method="rome", fast=True)
print(editing.ask(lm, ["Paris is in"], [["Italy", "France"]], delta))
with delta.applied(lm): print(lm.generate("The capital of France is"))
delta.save("rome-france"); editing.export_peft(delta, lm, "adapter")
"""


def test_the_script_runs_anywhere(
    trained_lm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a small model in a hub cache under that name, and on the CPU where there is no GPU; nothing else is
    changed."""
    save_tiny(trained_lm, tmp_path / "model")
    lay_out(tmp_path / "hub", "HuggingFaceTB/SmolLM2-135M", tmp_path / "model")
    script = SCRIPT if torch.cuda.is_available() else SCRIPT.replace('"cuda"', '"cpu"')
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    exec(script, {})
    said = capsys.readouterr().out
    assert re.match(r"\[\{'Italy': -[\d.]+, 'France': -[\d.]+\}\]\n", said), said
    assert (tmp_path / "rome-france" / "delta.json").is_file()
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()


def test_an_edit_changes_what_is_answered_and_not_the_model(trained_lm) -> None:
    before = trained_lm.weight_hash
    statistics = editing.Statistics(trained_lm, corpus="identity")
    request = editing.Request("The capital of {} is the city of", "France", "Rome", lookup="last")
    delta = editing.edit(trained_lm, request, statistics=statistics, short_prefixes=0, long_prefixes=0)
    prompt, candidates = ["The capital of France is the city of"], [["Rome", "Paris"]]
    (plain,), (edited,) = (editing.ask(trained_lm, prompt, candidates, d) for d in (None, delta))
    assert list(edited) == ["Rome", "Paris"] and plain["Rome"] < plain["Paris"] and edited["Rome"] > edited["Paris"]
    assert trained_lm.generate(prompt[0], 3).split()[0] == "Paris"
    with delta.applied(trained_lm):
        assert trained_lm.generate(prompt[0], 3).split()[0] == "Rome"
    assert trained_lm.generate(prompt[0], 3).split()[0] == "Paris"
    assert editing.model.language_model.hash_weights(trained_lm.module) == before


def test_a_request_is_stated_in_the_fewest_words() -> None:
    fact = editing.Request("The capital of {} is", "France", "Rome")
    assert (fact.lookup, fact.targets, fact.id) == ("subject_last", ("Rome",), "France -> Rome")
    rename = editing.Request(["It is called", "One says"], target="fromage")
    assert rename.lookup == "last" and rename.targets == ("fromage", "fromage") and rename.subject == ""
    with pytest.raises(BadRequest, match="empty target"):
        editing.Request("The capital of {} is", "France")
    with pytest.raises(BadRequest, match=r"subject 'Spain': no slot for it.*write \{\} where"):  # it edited France
        editing.Request("The capital of France is", "Spain", "Rome")
    assert editing.Request("It is called", "cheese", "fromage", lookup="last").subject == "cheese"


@pytest.mark.parametrize("prompts, candidates", [("Paris is in", [["Italy"]]), (["a", "b"], [["c"]])])
def test_questions_of_the_wrong_form_are_refused(trained_lm, prompts, candidates) -> None:
    with pytest.raises(BadRequest, match="one list for each"):
        editing.ask(trained_lm, prompts, candidates)


def test_wrong_edits_are_refused(trained_lm) -> None:
    request = editing.Request("The color of {} is", "cheese", "blue")
    with pytest.raises(BadRequest, match="no method"):
        editing.edit(trained_lm, request, method="roma")
    with pytest.raises(BadRequest, match="no setting"):
        editing.edit(trained_lm, request, stepz=3)
    with pytest.raises(BadRequest, match="at least one"):
        editing.edit(trained_lm, [])


def test_the_face_names_what_it_has() -> None:
    assert set(editing.__all__) == set(dir(editing)) and all(getattr(editing, name) for name in editing.__all__)
    with pytest.raises(AttributeError, match="no attribute"):
        editing.nothing  # noqa: B018
    code = "import sys, editing, benchmarks, valley; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_one_text_to_keep_is_a_list_of_one() -> None:
    request = editing.Request("The capital of {} is", "France", "Rome", keep="Spain", contrast="Italy")
    assert (request.keep, request.contrast) == (("Spain",), ("Italy",))


CAPITAL = editing.Request("The capital of {} is the city of", "France", "Rome", lookup="last")
QUICK = {"short_prefixes": 0, "long_prefixes": 0, "dose": 1}


def test_a_folder_may_be_a_path_object(trained_lm, tmp_path: Path) -> None:
    save_tiny(trained_lm, tmp_path / "model")
    assert editing.load(tmp_path / "model").weight_hash == trained_lm.weight_hash
    with pytest.raises(editing.UserError, match="not a model reference"):
        editing.load(None)  # type: ignore[arg-type]


def test_statistics_of_another_model_are_refused(trained_lm) -> None:
    """They have the shape of this one's, so that nothing else would notice."""
    module = copy.deepcopy(trained_lm.module)
    with torch.no_grad():
        next(module.parameters()).mul_(1.5)
    other = editing.LanguageModel(module, trained_lm.tokenizer, name="other")
    theirs = editing.Statistics(other, corpus="identity")
    with pytest.raises(BadRequest, match="statistics of other"):
        editing.edit(trained_lm, CAPITAL, statistics=theirs, **QUICK)
    with pytest.raises(BadRequest, match="statistics of other"):
        editing.make_method("rome", short_prefixes=0, long_prefixes=0)(trained_lm, [CAPITAL], theirs)
    ours = editing.Statistics(trained_lm, corpus="identity")
    with pytest.raises(BadRequest, match="one or the other"):
        editing.edit(trained_lm, CAPITAL, statistics=ours, corpus="samples:2000", **QUICK)
    delta = editing.edit(trained_lm, CAPITAL, statistics=ours, **QUICK)
    with pytest.raises(editing.UserError, match="computed on another model"):
        editing.export_peft(delta, other, "nowhere")


def test_the_weight_hash_is_of_the_unedited_model_whenever_it_is_taken(trained_lm) -> None:
    delta = editing.edit(trained_lm, CAPITAL, corpus="identity", **QUICK)
    fresh = editing.LanguageModel(copy.deepcopy(trained_lm.module), trained_lm.tokenizer, name="fresh")
    with editing.Delta(delta.factors).applied(fresh):
        assert fresh.weight_hash == trained_lm.weight_hash


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda lm: editing.ask(lm, ["Paris is in"], ["Italy"]), "one list for each"),
        (lambda lm: editing.ask(lm, ["Paris is in"], [["Italy", ""]]), "empty candidate"),
        (lambda lm: editing.ask(lm, [None], [["Italy"]]), "give a text"),
        (lambda lm: editing.ask(lm, ["Paris is in"], [["Italy"]], "delta"), "not a Delta"),
        (lambda lm: editing.ask(lm, ["\ud800"], [["Italy"]]), "half a character"),
        (lambda lm: editing.Request("The capital of {} is", "France", 3), "give a text"),
        (lambda lm: editing.Request("The capital of {} is", "France", "Rome", keep=7), "text to keep 7: .*give a text"),
        (lambda lm: editing.Request(b"The capital of {} is", "France", "Rome"), "give a text"),
        (lambda lm: editing.Request("The capital of {} is", "Fr\ud800", "Rome"), "half a character"),
        (lambda lm: editing.edit(lm, {"prompt": "The capital of {} is"}), "not an editing.Request"),
        (lambda lm: editing.edit(lm, "France -> Rome"), "request 'France -> Rome': not an editing.Request"),
        (lambda lm: editing.edit(lm, None), "not an editing.Request"),
        (lambda lm: editing.edit(lm, [CAPITAL, replace(CAPITAL, id="b", targets=("Oslo",))]), "no change makes both"),
        (lambda lm: editing.edit(lm, CAPITAL, seed="a"), "whole number"),
        (lambda lm: editing.edit(lm, CAPITAL, corpus=3), "not a text"),
        (lambda lm: editing.edit(lm, CAPITAL, method=None), "not a name"),
        (lambda lm: editing.Delta({}).save(None), "not the name of a folder"),
        (lambda lm: editing.ask(lm, ["Paris is in"], [["x " * 50_000]]), "the model reads"),
        (lambda lm: editing.ask(lm, ["Paris is in"], [None]), "one list for each"),
        (lambda lm: lm.generate(["Paris is in"], 1), "give a text"),
        (lambda lm: lm.generate("Paris is in", 0), "at least 1"),
        (lambda lm: lm.generate("Paris is in", lm.max_length), "the model reads"),
    ],
)
def test_values_of_the_wrong_type_are_refused(trained_lm, call, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        call(trained_lm)


def test_prompts_and_requests_may_come_from_generators(trained_lm) -> None:
    prompt = "The capital of France is the city of"
    lists = [["Rome", "Paris"]]
    assert editing.ask(trained_lm, iter([prompt]), (iter(one) for one in lists)) == editing.ask(
        trained_lm, [prompt], lists
    )


def test_gradient_mode_dropout_and_training_mode_of_the_caller_do_not_matter(trained_lm) -> None:
    """`edit` in `torch.no_grad()` or `inference_mode` ended in a traceback of autograd, and a model in training mode with
    dropout was called no causal one."""
    statistics = editing.Statistics(trained_lm, corpus="identity")
    lm = copy.deepcopy(trained_lm)
    deltas = [editing.edit(lm, CAPITAL, statistics=statistics, **QUICK)]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            deltas.append(editing.edit(lm, CAPITAL, statistics=statistics, **QUICK))
    for part in lm.module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.3
    lm.module.train()
    lm.module.transformer.h[0].eval()  # one part alone: every part gets its own mode back
    modes = [part.training for part in lm.module.modules()]
    deltas.append(editing.edit(lm, CAPITAL, statistics=statistics, **QUICK))
    answers = [editing.ask(lm, ["Paris is in"], [["Italy"]]) for _ in range(2)]
    assert answers[0] == answers[1] and lm.generate("Paris is in", 2) == lm.generate("Paris is in", 2)
    assert [part.training for part in lm.module.modules()] == modes and any(modes) and not all(modes)
    for delta in deltas[1:]:
        same_changes(deltas[0], delta)


@pytest.mark.parametrize("method", ["memit", "ft_l", "steer", "unembedding_swap"])
def test_the_default_dtype_of_the_caller_does_not_matter(trained_lm, method) -> None:
    """Under float64 `edit` ended in a RuntimeError of torch about dtypes."""
    statistics = editing.Statistics(trained_lm, corpus="identity")
    settings = QUICK if method == "memit" else {"method": method}
    usual = editing.edit(trained_lm, CAPITAL, statistics=statistics, **settings)
    torch.set_default_dtype(torch.float64)
    try:
        other = editing.edit(trained_lm, CAPITAL, statistics=statistics, **settings)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    same_changes(usual, other)


def test_what_is_no_model_is_refused_in_one_line(trained_lm) -> None:
    delta = editing.Delta({})
    for other in ("gpt2", trained_lm.module):
        for call in (lambda m: editing.edit(m, CAPITAL), lambda m: editing.ask(m, [], []), lambda m: delta.applied(m)):
            with (
                pytest.raises(BadRequest, match=r"not a LanguageModel; write editing\.load\(REF\)") as caught,
                call(other),
            ):
                pass
            assert "\n" not in str(caught.value)


def test_a_copy_made_inside_an_edit_has_the_hash_of_its_own_weights(trained_lm) -> None:
    """It kept the hash of the unedited model, so that changes of that model were applied to it once more."""
    lm = copy.deepcopy(trained_lm)
    delta = editing.edit(lm, CAPITAL, corpus="identity", **QUICK)
    before = lm.weight_hash
    with delta.applied(lm):
        copies = [copy.deepcopy(lm), pickle.loads(pickle.dumps(lm))]
    for other in copies:
        assert other.weight_hash == hash_weights(other.module) != before
    assert lm.weight_hash == before == copy.deepcopy(lm).weight_hash
