"""SPHERE, norm anchors and RECT against literal forms of their papers, around several methods."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from editing.delta import Dense, LowRank
from editing.errors import BadRequest
from editing.methods import make_method
from editing.methods.wrappers.sphere import oriented_weight
from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics
from tests.editing import reference
from tests.editing.worked import REQUESTS, distance, model, session_statistics
from tests.tiers import fast_are

FEW = {"rome": {"steps": 3, "short_prefixes": 1, "long_prefixes": 1}, "memit": {"steps": 3, "prefixes": 1}}
FEW["ft_m"] = {"steps": 3}


@pytest.fixture(scope="module", params=fast_are(["gpt2"], ["gpt2", "llama"]))
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    return model(request.param)


@pytest.fixture(scope="module")
def statistics(lm: LanguageModel) -> ModelStatistics:
    return session_statistics(lm)


def both(wrapper: str, inner: str, lm, statistics, **settings) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """(weight, the inner method's change, the wrapper's change) of one edit."""
    place = {"depth": 0.5, "lookup": "last"}
    (plain,) = make_method(inner, **place, **FEW[inner]).each(lm, REQUESTS[:1], statistics)
    method = make_method(wrapper, inner=inner, options=json.dumps(FEW[inner]), **place, **settings)
    (delta,) = method.each(lm, REQUESTS[:1], statistics)
    assert delta.weights == plain.weights and delta.provenance["inner"]["method"] == inner
    return [(name, plain.factors[name].dense(), delta.factors[name].dense()) for name in plain.weights]


@pytest.mark.parametrize("inner", ["rome", "memit", "ft_m"])
def test_sphere(inner: str, lm: LanguageModel, statistics: ModelStatistics) -> None:
    """By the eigenvectors of the full d_in x d_in matrix and an explicit projector."""
    for name, plain, changed in both("sphere", inner, lm, statistics, eta=0.4, alpha=0.7):
        rows = oriented_weight(lm, name).double()
        rows = rows / rows.norm(dim=1, keepdim=True)
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        count, total = 0, 0.0
        while total <= 0.4:
            total += float(values.flip(0)[count] / values.sum())
            count += 1
        main = vectors[:, -count:]
        assert 0 < count < len(values) / 2
        expected = plain.double() @ (torch.eye(len(values)) - 0.7 * main @ main.T)
        assert distance(changed, expected) < 1e-5 < distance(plain, expected)


@pytest.mark.parametrize("inner", ["rome", "memit", "ft_m"])
def test_norm_anchor(inner: str, lm: LanguageModel, statistics: ModelStatistics) -> None:
    """At the key the new output points where the inner method's does and is as long as the old one."""
    for name, plain, changed in both("norm_anchor", inner, lm, statistics):
        path = name.removesuffix(".weight")
        texts = reference.texts_of(lm, REQUESTS[0], [], "last")
        key, old = (reference.read(lm, texts, path, side).mean(0) for side in ("input", "output"))
        turned = old + plain @ key
        assert torch.allclose(old + changed @ key, turned * old.norm() / turned.norm(), atol=1e-4 * float(old.norm()))
        # the change reads nothing that the inner method's does not read
        q = torch.linalg.svd(plain.double(), full_matrices=False)[2][: int(torch.linalg.matrix_rank(plain))]
        assert distance(changed.double() @ q.T @ q, changed.double()) < 1e-4


@pytest.mark.parametrize("inner", ["rome", "ft_m"])
def test_rect(inner: str, lm: LanguageModel, statistics: ModelStatistics) -> None:
    for name, plain, changed in both("rect", inner, lm, statistics, keep=0.3):
        ratio = (plain / oriented_weight(lm, name)).abs()
        order = ratio.flatten().argsort(descending=True)
        expected = torch.zeros(plain.numel())
        kept = order[: round(0.3 * len(order))]
        expected[kept] = plain.flatten()[kept]
        assert torch.equal(changed, expected.reshape(plain.shape)) and not torch.equal(changed, plain)


def test_the_rows_of_values_in_a_fused_map_are_the_only_ones_that_count() -> None:
    """GPT-2 makes queries, keys and values by one map. RECT leaves out a share of the values' entries, and the values
    alone are as long as before."""
    lm = model("gpt2")
    statistics = session_statistics(lm)
    site = lm.sites("value")[0]
    rest = sorted(set(range(site.d_out)) - set(site.rows or ()))
    settings = {"site": "value", "depth": 0.1, "lookup": "last"}
    (plain,) = make_method("rome", **FEW["rome"], **settings).each(lm, REQUESTS[:1], statistics)
    made = {
        name: make_method(name, inner="rome", options=json.dumps(FEW["rome"]), **settings).each(
            lm, REQUESTS[:1], statistics
        )[0]
        for name in ("rect", "norm_anchor")
    }
    inner, rect, anchored = (delta.factors[site.weight].dense() for delta in (plain, *made.values()))
    assert rest and not inner[rest].any() and not rect[rest].any() and not anchored[rest].any()
    assert int((rect != 0).sum()) == round(0.4 * site.size * site.d_in)
    texts = reference.texts_of(lm, REQUESTS[0], [], "last")
    key, old = (reference.read(lm, texts, site.path, side).mean(0) for side in ("input", "output"))
    new = old + anchored @ key
    assert float(new[list(site.rows or ())].norm()) == pytest.approx(float(old[list(site.rows or ())].norm()), rel=1e-4)
    assert not torch.allclose(new, old, rtol=1e-3)


def test_they_work_on_batches_and_sequences(lm: LanguageModel, statistics: ModelStatistics) -> None:
    for name, kind in (("sphere", LowRank), ("norm_anchor", LowRank), ("rect", Dense)):
        options = json.dumps(FEW["memit"])
        method = make_method(name, inner="memit", options=options, lookup="last", depth=0.5)
        joint = method(lm, REQUESTS[:2], statistics)
        assert {type(change) for change in joint.factors.values()} == {kind}
        first, memory = method.step(lm, REQUESTS[:1], statistics)
        assert first.weights == joint.weights and memory is None


@pytest.mark.parametrize("name", ["sphere", "norm_anchor", "rect"])
def test_what_they_cannot_rework_is_refused(name: str, lm: LanguageModel, statistics: ModelStatistics) -> None:
    with pytest.raises(BadRequest, match="changes no weight"):
        make_method(name, inner="ike").each(lm, REQUESTS[:1], statistics)
    with pytest.raises(BadRequest, match="inner='placebo'; use one of"):
        make_method(name, inner="placebo")
    for settings in ({"sphere": {"eta": 1.5}, "rect": {"keep": 0.0}}.get(name, {"inner": "x"}),):
        with pytest.raises(BadRequest, match=f"method {name}"):
            make_method(name, **settings)


def test_requests_of_one_batch_keep_their_own_lookups(lm: LanguageModel, statistics: ModelStatistics) -> None:
    """The second has no subject, and was looked up at the first one's; the anchor holds at both keys."""
    requests = [replace(REQUESTS[0], lookup="subject_last"), REQUESTS[2]]
    (name,) = (delta := make_method("norm_anchor", options='{"steps": 3}')(lm, requests, statistics)).weights
    change = delta.factors[name].dense()
    for request in requests:
        texts = reference.texts_of(lm, request, [], request.lookup)
        read = (reference.read(lm, texts, name.removesuffix(".weight"), side) for side in ("input", "output"))
        key, old = (states.mean(0) for states in read)
        assert torch.allclose((old + change @ key).norm(), old.norm(), rtol=1e-3)


def test_edits_of_a_batch_that_moved_are_anchored_where_they_are(
    lm: LanguageModel, statistics: ModelStatistics
) -> None:
    """ROME at the last block edits at the last token, of several requests as of one."""
    options, requests = json.dumps(FEW["rome"]), [REQUESTS[0], REQUESTS[4]]
    delta = make_method("norm_anchor", inner="rome", options=options, depth=0.99)(lm, requests, statistics)
    assert delta.provenance["inner"]["moved_requests"] == [request.id for request in requests]
    (name,) = delta.weights
    for request in requests:
        texts = reference.texts_of(lm, request, [], "last")
        read = (reference.read(lm, texts, name.removesuffix(".weight"), side) for side in ("input", "output"))
        key, old = (states.mean(0) for states in read)
        assert torch.allclose((old + delta.factors[name].dense() @ key).norm(), old.norm(), rtol=1e-3)


@pytest.mark.parametrize("wrapper", ["rect", "sphere"])
def test_a_tied_head_is_read_as_before(wrapper: str) -> None:
    lm = model("gpt2")
    request = replace(REQUESTS[0], lookup="last")
    (delta,) = make_method(wrapper, inner="unembedding").each(lm, [request], session_statistics(lm))
    embedding = lm.module.get_input_embeddings()
    ids = torch.arange(embedding.num_embeddings)
    before, weight = embedding(ids), embedding.weight.clone()
    with delta.applied(lm):
        assert torch.allclose(embedding(ids), before, atol=1e-5)
        assert not torch.allclose(embedding.weight, weight, atol=1e-3)


def test_an_embedding_has_no_key(lm: LanguageModel, statistics: ModelStatistics) -> None:
    with pytest.raises(BadRequest, match="no linear map"):
        make_method("norm_anchor", inner="embedding").each(lm, REQUESTS[:1], statistics)
