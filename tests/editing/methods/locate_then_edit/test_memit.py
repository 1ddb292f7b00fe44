"""The fast MEMIT equals the slow, literal one, jointly and edit by edit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing.errors import BadRequest
from editing.methods import make_method
from editing.methods.locate_then_edit.spread import weighted_least_squares
from editing.model import LanguageModel
from editing.model.language_model import hash_weights
from editing.solve import group_mean, states, type_weights
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

# A small weight of C, so that K K^T counts and edits in one batch do disturb each other.
SETTINGS = {"depth": 0.6, "span": 0.5, "steps": 6, "prefixes": 3, "covariance_weight": 5.0} | LIGHT


THREE = (REQUESTS[0], REQUESTS[2], REQUESTS[3])  # a fact, a rename, a retarget


@pytest.mark.parametrize("family", fast_are(("gpt2", "gemma3_text"), [*SOME, *SOME_HYBRIDS]))
def test_fast_equals_reference(family: str) -> None:
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("memit", **SETTINGS)
    c = {s.path: ridged(statistics, s) for s in method.edited_sites(lm, THREE[0])}
    assert len(c) == 2
    prefixes = statistics.prefixes({10: 3})
    before = hash_weights(lm.module)
    deltas = method.each(lm, THREE, statistics)
    joint = method(lm, THREE, statistics)
    assert hash_weights(lm.module) == before
    targets = {}
    for i, delta in enumerate([*deltas, joint]):
        chosen = THREE if i == len(THREE) else THREE[i : i + 1]
        slow = reference.memit(lm, chosen, method, c, prefixes, targets)
        assert set(slow) == set(delta.weights)
        for name, change in slow.items():
            assert_equal(delta.factors[name].dense(), change, c[name.removesuffix(".weight")])
    together = sum(d.factors[name].dense() for d in deltas)
    assert isinstance(together, torch.Tensor) and distance(joint.factors[name].dense(), together) > 1e-2


@pytest.mark.parametrize("family", fast_are(["gemma3_text"], ["gpt2", "llama", "gemma3_text"]))
def test_attention_output_equals_the_reference(family: str) -> None:
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("memit", site="attn", **SETTINGS)
    c = {s.path: ridged(statistics, s) for s in lm.sites("attn")}
    joint = method(lm, REQUESTS[:3], statistics)
    for name, change in reference.memit(lm, REQUESTS[:3], method, c, statistics.prefixes({10: 3})).items():
        assert_equal(joint.factors[name].dense(), change, c[name.removesuffix(".weight")])


def test_requests_stop_at_different_steps() -> None:
    lm = tiny_lm("gpt2", spread=0.3)
    statistics = session_statistics(lm)
    method = make_method("memit", **SETTINGS | REACHING)
    c = {s.path: ridged(statistics, s) for s in lm.sites("mlp")}
    deltas = method.each(lm, WITHIN_REACH, statistics)
    steps = [d.provenance["optimiser"][0]["steps"] for d in deltas]
    assert len(set(steps)) >= 3 and min(steps) < 14, steps
    for request, delta in zip(WITHIN_REACH, deltas, strict=True):
        for name, change in reference.memit(lm, [request], method, c, statistics.prefixes({10: 3})).items():
            assert_equal(delta.factors[name].dense(), change, c[name.removesuffix(".weight")])


def test_lookups_at_different_depths_are_separate_edits_or_refused() -> None:
    lm = model("llama")
    statistics = session_statistics(lm)
    method = make_method("memit", span=0.3, steps=3, prefixes=1, move_above=0.0)
    fact, rename = REQUESTS[0], REQUESTS[2]
    deltas = method.each(lm, [fact, rename, REQUESTS[3]], statistics)
    one, two = (f"model.layers.{i}.mlp.down_proj.weight" for i in (1, 2))
    assert [d.weights for d in deltas] == [(one,), (two,), (one,)]
    (alone,) = method.each(lm, [rename], statistics)
    name = alone.weights[0]
    assert distance(deltas[1].factors[name].dense(), alone.factors[name].dense()) < 1e-4
    with pytest.raises(BadRequest, match="different depths"):
        method(lm, [fact, rename], statistics)
    assert method.each(lm, [], statistics) == []


def test_value_sites_are_refused() -> None:
    with pytest.raises(BadRequest, match="residual stream"):
        make_method("memit", site="value")


@pytest.mark.parametrize("family", fast_are(["gemma3_text"], ["gemma3_text", "olmo2"]))
def test_behind_a_norm_the_state_reaches_its_target(family: str, tmp_path: Path) -> None:
    """One block, one key, no weight of C: the block puts out what the search found, and the map's output keeps its
    length. With the papers' formula the residual of the stream is the change of the map's output."""
    lm = tiny_lm(family, spread=0.3)
    statistics = ModelStatistics(lm, tmp_path, "identity")
    settings = {"depth": 0.5, "span": 0.1, "prefixes": 0, "covariance_weight": 1e-9, "steps": 6, "move_above": 0.0}
    method = make_method("memit", optimiser="adam", weight_decay=0.0, **settings)
    (site,) = method.edited_sites(lm, REQUESTS[0])
    block = lm.layout.blocks[site.layer]
    texts = reference.texts_of(lm, REQUESTS[0], [], "subject_last")
    goal = reference.block_target(lm, REQUESTS[0], texts, "subject_last", site, method)
    start = reference.read(lm, texts, block, "output")[0]
    length = reference.read(lm, texts, site.path, "output")[0].norm()
    (delta,) = method.each(lm, REQUESTS[:1], statistics)
    with delta.applied(lm):
        reached = reference.read(lm, texts, block, "output")[0]
        written = reference.read(lm, texts, site.path, "output")[0]
    assert float((goal - start).norm()) > 0.1
    torch.testing.assert_close(reached, goal, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(written.norm(), length, rtol=1e-3, atol=0)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_keys_are_as_precise_as_the_search(precision: str) -> None:
    """With bfloat16 steps the keys are those of the bfloat16 copy, else those of the model itself."""
    lm = model("llama")
    statistics = session_statistics(lm)
    method = make_method("memit", **SETTINGS | {"span": 0.0, "precision": precision})
    (site,) = method.edited_sites(lm, REQUESTS[0])
    (contexts,) = method.contexts(lm, REQUESTS[:1], statistics)
    factor = method(lm, REQUESTS[:1], statistics).factors[site.weight].right

    def off(source: LanguageModel) -> float:
        read = states(source, contexts.prompts, [(site.path, "input")])[site.path, "input"]
        key = group_mean(read, [contexts], [type_weights(contexts)])
        weight = method.in_keys(method.covariance_weight, site)
        return distance(weighted_least_squares(statistics, site, key.T, weight), factor)

    same, other = (lm.half, lm) if precision == "bfloat16" else (lm, lm.half)
    assert off(same) < 1e-4 < 1e-3 < off(other)
