"""The fast ROME equals the slow, literal one in every kind of family, for every kind of edit."""

from __future__ import annotations

from pathlib import Path

import pytest

from editing.errors import NoSite
from editing.methods import make_method
from editing.model.language_model import hash_weights
from editing.stats.statistics import ModelStatistics
from tests.editing import reference
from tests.editing.families import SOME, SOME_HYBRIDS, tiny_lm
from tests.editing.worked import (
    LIGHT,
    REACHING,
    REQUESTS,
    WITHIN_REACH,
    assert_equal,
    distance,
    model,
    ridged,
    session_statistics,
)
from tests.tiers import fast_are

PREFIXES = {5: 2, 10: 2}


@pytest.mark.parametrize("family", fast_are(("gpt2", "gemma3_text"), [*SOME, *SOME_HYBRIDS]))
def test_fast_equals_reference(family: str) -> None:
    """Several requests in one call against one request at a time; all kinds of them in two families."""
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("rome", depth=0.5, steps=6, short_prefixes=2, long_prefixes=2, **LIGHT)
    chosen = REQUESTS if family in ("gpt2", "gemma3_text") else REQUESTS[1:4]
    for request, delta in zip(chosen, method.each(lm, chosen, statistics), strict=True):
        site = lm.sites("mlp")[method.placement(lm, request).layers[0]]
        assert delta.weights == (site.weight,)
        c = ridged(statistics, site)
        slow = reference.rome(lm, request, method, c, statistics.prefixes(PREFIXES))
        assert_equal(delta.factors[site.weight].dense(), slow, c)


@pytest.mark.parametrize(
    ("family", "kind"),
    fast_are(
        [("falcon", "value"), ("gemma2", "attn")],
        [("gpt2", "value"), ("llama", "value"), ("falcon", "value"), ("gpt2", "attn"), ("gemma2", "attn")],
    ),
)
def test_other_sites_equal_the_reference(family: str, kind: str) -> None:
    """Only the value rows of a fused map may change."""
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("rome", site=kind, depth=0.5, steps=6, short_prefixes=2, long_prefixes=2, **LIGHT)
    chosen = REQUESTS[:1] + REQUESTS[2:4]
    site = lm.sites(kind)[2]
    c = ridged(statistics, site)
    for request, delta in zip(chosen, method.each(lm, chosen, statistics), strict=True):
        slow = reference.rome(lm, request, method, c, statistics.prefixes(PREFIXES))
        fast = delta.factors[site.weight].dense()
        assert_equal(fast, slow, c)
        if site.rows is not None:
            others = sorted(set(range(site.d_out)) - set(site.rows))
            assert not fast[others].any()


@pytest.mark.parametrize("family", fast_are(["lfm2"], SOME_HYBRIDS))
def test_values_of_hybrids_equal_the_reference(family: str) -> None:
    """In the blocks that have them; elsewhere the edit is refused by the number of the block."""
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("rome", site="value", depth=0.3, steps=6, short_prefixes=2, long_prefixes=2, **LIGHT)
    (delta,) = method.each(lm, REQUESTS[:1], statistics)
    site = lm.site("value", 1)
    assert delta.weights == (site.weight,)
    c = ridged(statistics, site)
    slow = reference.rome(lm, REQUESTS[0], method, c, statistics.prefixes(PREFIXES))
    assert_equal(delta.factors[site.weight].dense(), slow, c)
    if len(lm.sites("value")) < lm.n_layers:
        with pytest.raises(NoSite, match="block 2 has no site of kind 'value'; blocks 1, 3 have, set depth"):
            make_method("rome", site="value", depth=0.5).each(lm, REQUESTS[:1], statistics)
        layers = {make_method("random_layer", site="value", draw=str(i)).layer(lm) for i in range(20)}
        assert layers == {1, 3}


@pytest.mark.parametrize("clamp", [20.0, 0.5])
def test_requests_stop_at_different_steps(clamp: float) -> None:
    """Each request leaves the batch where the reference stops, and stays within the ball."""
    lm = tiny_lm("gpt2", spread=0.3)
    statistics = session_statistics(lm)
    method = make_method("rome", depth=0.5, short_prefixes=2, long_prefixes=1, **REACHING | {"clamp": clamp})
    prefixes, site, steps = statistics.prefixes({5: 2, 10: 1}), lm.sites("mlp")[2], []
    chosen = WITHIN_REACH if clamp == 20.0 else WITHIN_REACH[:1]
    for request, delta in zip(chosen, method.each(lm, chosen, statistics), strict=True):
        slow = reference.rome(lm, request, method, ridged(statistics, site), prefixes)
        texts = reference.texts_of(lm, request, prefixes, "last")
        result = reference.optimise(lm, request, texts, "last", site.path, None, method)
        note = delta.provenance["optimiser"]
        assert note["steps"] == result.steps and note["loss"] == pytest.approx(result.loss, rel=1e-3)
        assert note["delta_norm"] == pytest.approx(float(result.delta.norm()), rel=1e-4)
        assert note["delta_norm"] <= clamp * float(result.v0.norm()) * (1 + 1e-5)
        assert_equal(delta.factors[site.weight].dense(), slow, ridged(statistics, site))
        steps.append(result.steps)
    assert len(set(steps)) >= 3 if clamp == 20.0 else steps == [14]


def test_several_facts_are_edited_one_after_another() -> None:
    """`__call__` computes each edit on the model as edited so far, and gives the model back."""
    lm = model("llama")
    statistics = session_statistics(lm)
    method = make_method("rome", depth=0.5, steps=5, short_prefixes=1, long_prefixes=1, **LIGHT)
    chosen = (REQUESTS[0], REQUESTS[3])
    before = hash_weights(lm.module)
    joint = method(lm, chosen, statistics)
    assert hash_weights(lm.module) == before
    site = lm.sites("mlp")[2]
    c, prefixes = ridged(statistics, site), statistics.prefixes({5: 1, 10: 1})
    first = reference.rome(lm, chosen[0], method, c, prefixes)
    weight = lm.weight(site.weight)
    old = weight.detach().clone()
    weight += first
    second = reference.rome(lm, chosen[1], method, c, prefixes)
    weight.copy_(old)
    assert distance(joint.factors[site.weight].dense(), first + second) < 1e-4
    assert distance(reference.rome(lm, chosen[1], method, c, prefixes), second) > 1e-3  # the order does matter


def test_the_key_of_the_bare_prompt_gets_exactly_its_value(tmp_path: Path) -> None:
    """dW k0 = delta: the defining property of equation 2."""
    lm = model("gpt2")
    statistics = ModelStatistics(lm, tmp_path, "identity")
    method = make_method("rome", depth=0.5, steps=4, short_prefixes=1, long_prefixes=0, **LIGHT)
    (delta,) = method.each(lm, REQUESTS[:1], statistics)
    site = lm.sites("mlp")[2]
    texts = reference.texts_of(lm, REQUESTS[0], [], "subject_last")
    key = reference.read(lm, texts, site.path, "input")[0]
    change = delta.factors[site.weight].dense() @ key
    assert float(change.norm()) == pytest.approx(delta.provenance["optimiser"]["delta_norm"], rel=1e-4)
