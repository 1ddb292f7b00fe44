"""The dose that an edit needs, against a literal search: one dose at a time, the change in the weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from editing.delta import Delta, export_peft
from editing.delta.peft_export import dose_of
from editing.errors import BadRequest
from editing.eval.dose import FIRST, MARGIN, at_dose, check_dose, smallest_dose, target_margins
from editing.methods import make_method, taken_by
from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics
from editing.text.requests import EditRequest

PROMPT = "The capital of {} is the city of"
REQUESTS = (
    EditRequest("one", (PROMPT,), "France", ("Rome",), "last"),
    EditRequest("two", ("I like", "People in France speak"), "", ("tea", "Rome and Madrid"), "last"),
)


@pytest.fixture(scope="module")
def statistics(trained_lm: LanguageModel) -> ModelStatistics:
    return ModelStatistics(trained_lm, corpus="identity")


# Settings under which each says its target at less than the whole change: by a low-rank change, a dense one, hooks.
REACHING = {
    "rome": {"short_prefixes": 1, "long_prefixes": 1},
    "ft_m": {"steps": 60, "lr": 0.05, "prefixes": 0, "stop_loss": 0.001},
    "steer": {},
}


@pytest.fixture(scope="module", params=REACHING)
def delta(request: pytest.FixtureRequest, trained_lm: LanguageModel, statistics: ModelStatistics) -> Delta:
    settings = {"lookup": "last"} | REACHING[request.param]
    return make_method(request.param, **taken_by(request.param, settings))(trained_lm, REQUESTS[:1], statistics)


def literal_margin(lm: LanguageModel, request: EditRequest, at: int) -> float:
    """By transformers alone, token after token; the blank before a target is written out."""
    text, target = request.filled()[at], " " + request.targets[at]
    ids = lm.encode(text)
    margins = []
    for token in lm.tokenizer(target, add_special_tokens=False)["input_ids"]:
        with torch.no_grad():
            logits = lm.module(input_ids=torch.tensor([ids])).logits[0, -1].float()
        own = float(logits[token])
        logits[token] = -torch.inf
        margins.append(own - float(logits.max()))
        ids.append(token)
    return min(margins)


def test_margins_are_those_of_the_changed_weights(trained_lm: LanguageModel, delta: Delta) -> None:
    doses = [0.0, 0.3, 1.0, 1.7]
    got = target_margins(trained_lm, delta, REQUESTS, doses)
    assert got.shape == (4, 3)
    for row, dose in enumerate(doses):
        with delta.scaled(dose).applied(trained_lm):
            expected = [literal_margin(trained_lm, r, at) for r in REQUESTS for at in range(len(r.prompts))]
        assert np.allclose(got[row], expected, atol=1e-3)


def test_the_dose_is_the_smallest(trained_lm: LanguageModel, delta: Delta) -> None:
    """On the grid that the search can reach, up to the first success in steps of a quarter."""
    chosen = smallest_dose(trained_lm, delta, REQUESTS[:1])

    def works(dose: float) -> bool:
        with delta.scaled(dose).applied(trained_lm):
            return literal_margin(trained_lm, REQUESTS[0], 0) >= MARGIN

    top = next(dose for dose in FIRST if works(dose))
    fine = np.arange(top - 0.25, top + 1e-9, 1 / 256)
    assert chosen.value == pytest.approx(next(float(dose) for dose in fine if works(dose)))
    assert 0 < chosen.value < 2 and (chosen.reached, chosen.prompts) == (1, 1)
    assert not works(chosen.value - 1 / 256)


def test_a_larger_margin_needs_a_larger_dose(trained_lm: LanguageModel, delta: Delta) -> None:
    values = [smallest_dose(trained_lm, delta, REQUESTS[:1], margin).value for margin in (0.1, 0.5, 1.0)]
    assert values == sorted(values) and values[0] < values[-1]


def test_a_target_that_the_model_gives_already_needs_no_edit(trained_lm: LanguageModel, delta: Delta) -> None:
    known = EditRequest("known", (PROMPT,), "France", ("Paris",), "last")
    unchanged, chosen = at_dose(trained_lm, delta, [known])
    assert chosen.value == 0 and "without any edit" in chosen.line() and unchanged.relative_norm(trained_lm) == 0
    assert "without any edit" in repr(unchanged)


def test_another_multiple_is_no_longer_of_the_dose_that_was_chosen(trained_lm: LanguageModel, delta: Delta) -> None:
    """Its record and what exports write of it would name the wrong dose."""
    chosen, about = at_dose(trained_lm, delta, REQUESTS[:1])
    assert about.line() in repr(chosen) and dose_of(chosen) == about.line()
    half = chosen.scaled(0.5)
    assert about.line() not in repr(half) and dose_of(half) == f"dose {half.provenance['dose']:g}"


def test_what_no_dose_reaches_stays_at_dose_1(trained_lm: LanguageModel, delta: Delta) -> None:
    far = EditRequest("far", ("I like",), "", ("Quechua xylophones",), "last")
    same, chosen = at_dose(trained_lm, delta, [far])
    assert chosen.value == 1 and not chosen.reached and "no prompt of the edit gives its target" in chosen.line()
    assert all(same.factors[name] is delta.factors[name] for name in delta.factors)


def test_a_number_is_taken_as_it_is(trained_lm: LanguageModel, delta: Delta) -> None:
    same, chosen = at_dose(trained_lm, delta, REQUESTS[:1], 1)
    assert same is delta and chosen.line() == "dose 1: the change as the method makes it"
    half, _ = at_dose(trained_lm, delta, REQUESTS[:1], "0.5")
    assert half.relative_norm(trained_lm) == pytest.approx(delta.relative_norm(trained_lm) / 2)


def test_the_choice_is_saved_and_exported(trained_lm: LanguageModel, statistics, tmp_path: Path) -> None:
    from safetensors import safe_open

    made = make_method("rome", lookup="last", short_prefixes=1, long_prefixes=1)(trained_lm, REQUESTS[:1], statistics)
    scaled, chosen = at_dose(trained_lm, made, REQUESTS[:1])
    record = Delta.load(scaled.save(tmp_path / "delta")).provenance
    assert record["dose"] == chosen.value and record["dose_choice"] == json.loads(json.dumps(chosen.record()))
    written = export_peft(scaled, trained_lm, tmp_path / "adapter")
    assert written.dose == chosen.line()
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as file:
        assert file.metadata()["dose"] == chosen.line()


@pytest.mark.parametrize("name", ["ike", "grace"])
def test_edits_without_multiples_say_so(name: str, trained_lm: LanguageModel, statistics: ModelStatistics) -> None:
    made = make_method(name)(trained_lm, REQUESTS[:1], statistics)
    same, chosen = at_dose(trained_lm, made, REQUESTS[:1])
    assert same is made and chosen.value is None and chosen.line().startswith("dose: none; a text or a codebook")
    with pytest.raises(BadRequest, match="no dose"):
        at_dose(trained_lm, made, REQUESTS[:1], 0.5)


@pytest.mark.parametrize("dose", ["much", -1, "nan", float("inf"), True, None])
def test_a_dose_that_is_none_is_refused(dose) -> None:
    with pytest.raises(BadRequest, match="write auto, or a number from 0 on"):
        check_dose(dose)
