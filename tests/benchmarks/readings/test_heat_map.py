"""The localiser's heat map of one question: the reading's own numbers where both read, and a chart of text only."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.readings import MAP_TITLES, heat_map_chart, heat_map_of, make_reading
from benchmarks.readings.tracing import TOKENS, subject_span, token_columns
from editing.errors import BadRequest
from editing.model import hash_weights
from editing.text import fill, parts
from tests.benchmarks.readings.small import source


def traced():
    place = source().best_wording("home", "en")[0]
    question = source().question(place)
    start = len((parts(question.template) or ("",))[0])
    steps: list[tuple[int, int]] = []
    prompt = fill(question.template, question.subject)
    span = (start, start + len(question.subject))
    heat = heat_map_of(
        source().lm, prompt, span, question.target, progress=lambda done, total: steps.append((done, total))
    )
    return place, heat, steps


def test_the_map_holds_what_the_reading_says_at_its_four_tokens() -> None:
    bits = hash_weights(source().lm.module)
    place, heat, steps = traced()
    reading = make_reading("tracing").trace(source(), [place])
    columns = token_columns(source().prompts[place], subject_span(source(), place))
    assert heat.clean == reading.clean[0] and heat.noisy == reading.noisy[0]
    assert heat.clean - heat.noisy > 0.1  # there is something to localise
    for name in MAP_TITLES:
        whole = reading.effects[name, "none"][0]
        assert whole.shape == (source().lm.n_layers, len(TOKENS))
        np.testing.assert_allclose(heat.effects[name][:, columns], whole, atol=1e-6)
        np.testing.assert_allclose(heat.controls[name][:, columns], reading.effects[name, "other_noise"][0], atol=1e-6)
        assert heat.effects[name].shape == (len(heat.layers), len(heat.tokens))
    assert heat.peak("indirect_effect")[2] > 2 * np.abs(heat.controls["indirect_effect"]).max()
    assert steps[-1][0] == steps[-1][1] == len(steps)
    assert hash_weights(source().lm.module) == bits


def test_the_chart_has_every_layer_and_token_and_no_markup() -> None:
    _, heat, _ = traced()
    chart = json.loads(heat_map_chart(heat, "mlp_effect").to_json())
    (rows,) = chart["datasets"].values()
    assert len(rows) == len(heat.layers) * len(heat.tokens)
    assert len({row["token"] for row in rows}) == len(heat.tokens)
    assert sum("*" in row["token"] for row in rows) == heat.noised * len(heat.layers)
    values = {(row["layer"], row["token"]): row["effect"] for row in rows}
    assert max(values.values()) == pytest.approx(heat.peak("mlp_effect")[2])


def test_braces_are_text_and_a_subject_must_have_tokens() -> None:
    prompt = "The {odd} home of {} the heron is the"
    at = prompt.index("heron")
    heat = heat_map_of(source().lm, prompt, (at, at + 5), "forest")
    assert heat.prompt == prompt and "".join(heat.tokens).strip().startswith("heron")
    with pytest.raises(BadRequest):
        heat_map_of(source().lm, prompt, (at, at), "forest")
