"""IKE: the statement before every prompt, its language, and the room it leaves."""

from __future__ import annotations

import numpy as np
import pytest

from editing.delta.delta import Delta
from editing.errors import BadRequest
from editing.eval import continuation_logprobs, text_drift
from editing.methods import make_method
from editing.text.requests import EditRequest
from tests.editing.worked import PROMPTS, REQUESTS, TARGETS


def test_the_statement_is_in_the_language_of_the_request(trained_lm, statistics) -> None:
    fact, french, retarget = make_method("ike").each(trained_lm, [REQUESTS[0], REQUESTS[4], REQUESTS[3]], statistics)
    assert fact.context == "New fact: The capital of New Zealand is the city of Madrid."
    assert french.context == "Nouveau fait : La capitale de France est la ville de Rome."
    assert (
        retarget.context
        == "New fact: Cheese is sold by the baker. New fact: A loaf of Cheese is made from flour and milk."
    )
    elision = EditRequest("x", ("La capitale de {} est la ville d'",), "Egypte", ("Oran",), lang="fr")
    assert make_method("ike")(trained_lm, [elision, REQUESTS[0]], statistics).context == (
        "Nouveau fait : La capitale de Egypte est la ville d'Oran. " + fact.context
    )
    assert not fact.factors and fact.relative_norm(trained_lm) == 0


def test_statements_leave_half_of_the_positions_to_the_prompt(trained_lm, statistics) -> None:
    room = trained_lm.max_length // 2
    prompts = tuple(f"{'very ' * i}old {{}} is sold by the" for i in range(1, 40))
    long = EditRequest("long", prompts, "Cheese", ("baker",) * len(prompts))
    (delta,) = make_method("ike").each(trained_lm, [long], statistics)
    result, every = map(int, delta.provenance["statements"].split(" of "))
    assert 1 <= result < every == len(prompts) and delta.context.count("New fact:") == result
    following = f"{delta.context} New fact: {prompts[result].format('Cheese')} baker."
    assert len(trained_lm.encode(delta.context)) <= room < len(trained_lm.encode(following))


def test_it_is_the_text_before_every_prompt(trained_lm, statistics) -> None:
    deltas = make_method("ike").each(trained_lm, REQUESTS, statistics)
    together = continuation_logprobs(trained_lm, PROMPTS, TARGETS, deltas, range(5))
    by_hand = continuation_logprobs(
        trained_lm, [f"{d.context} {p}" for d, p in zip(deltas, PROMPTS, strict=True)], TARGETS
    )
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(together, by_hand, strict=True))


def test_a_long_prompt_is_read_behind_the_end_of_the_statement(trained_lm, statistics) -> None:
    (delta,) = make_method("ike").each(trained_lm, REQUESTS[:1], statistics)
    room = trained_lm.max_length - len(trained_lm.encode(delta.context)) // 2
    prompt = next(text for n in range(room, 0, -1) if len(trained_lm.encode(text := "so " * n + "it is")) <= room)
    whole = trained_lm.encode(f"{delta.context} {prompt}")
    (result,) = continuation_logprobs(trained_lm, [prompt], [("x",)], [delta])
    assert len(whole) > trained_lm.max_length and np.isfinite(result).all()
    (alone,) = continuation_logprobs(trained_lm, [prompt], [("x",)])
    assert not np.allclose(result, alone), "the end of the statement is read"
    with pytest.raises(BadRequest, match=f"the model reads {trained_lm.max_length}"):
        continuation_logprobs(trained_lm, ["so " * trained_lm.max_length], [("x",)], [delta])


def test_a_text_that_fills_all_positions_leaves_no_room_to_drift(trained_lm, statistics) -> None:
    (delta,) = make_method("ike").each(trained_lm, REQUESTS[:1], statistics)
    short = "Bread is sold by the baker."
    long = f"{short} {'The capital of France is the city of Paris. ' * trained_lm.max_length}"
    assert len(trained_lm.encode(long)) > trained_lm.max_length
    drift, bits = text_drift(trained_lm, [short, long], [delta, Delta({})])
    assert drift[0, 1] < 0.01 < drift[0, 0] and bits[0, 1] == pytest.approx(bits[1, 1], rel=0.05)
