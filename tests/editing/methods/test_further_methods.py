"""The trivial rename, breadth-first fine-tuning and iterative MEMIT, against literal forms."""

from __future__ import annotations

import copy

import pytest
import torch

from editing.delta import LowRank, TokenShift
from editing.errors import BadRequest
from editing.methods import make_method
from editing.methods.locate_then_edit.memit_iterative import loss_under
from editing.model.language_model import LanguageModel
from editing.seeds import seed_for
from editing.text.requests import EditRequest
from tests.editing import reference
from tests.editing.solve.test_descent import loss_of
from tests.editing.worked import REQUESTS, distance, model, session_statistics
from tests.tiers import fast_are


def logits(lm: LanguageModel, text: str) -> torch.Tensor:
    with torch.no_grad():
        return lm.module(input_ids=torch.tensor([lm.encode(text)])).logits[0]


@pytest.mark.parametrize("family", fast_are(["gemma3_text", "phi"], ["gpt2", "gemma3_text", "llama", "phi"]))
def test_the_trivial_rename_swaps_two_logits_everywhere(family: str) -> None:
    """Tied (gpt2, gemma3_text) and untied heads, one with a bias (phi): every other number of every text stays."""
    lm = model(family)
    biased = lm.module.get_output_embeddings().bias is not None
    if biased:
        lm.module.get_output_embeddings().bias.normal_(generator=torch.Generator().manual_seed(0))
    statistics = session_statistics(lm)
    request = REQUESTS[1]
    (delta,) = make_method("unembedding_swap").each(lm, [request], statistics)
    before = logits(lm, request.filled()[0])[-1]
    old = int(before.argmax())
    new = lm.tokenizer(f" {request.targets[0]}", add_special_tokens=False)["input_ids"][0]
    assert delta.provenance["swaps"] == [[lm.tokenizer.decode([old]), lm.tokenizer.decode([new])]]
    tied = lm.module.get_output_embeddings().weight is lm.module.get_input_embeddings().weight
    kinds = ["LowRank", *(["Shift"] if biased else []), *(["TokenShift"] if tied else [])]
    assert sorted(type(c).__name__ for c in delta.factors.values()) == kinds
    for text in (request.filled()[0], "The capital of France is", lm.tokenizer.decode([old, new, old])):
        plain = logits(lm, text)
        expected = plain.clone()
        expected[:, [old, new]] = plain[:, [new, old]]
        with delta.applied(lm):
            assert torch.allclose(logits(lm, text), expected, atol=1e-4 * float(plain.abs().max()))


def test_a_rename_swaps_the_token_of_each_prompt_once() -> None:
    lm = model("gpt2")
    statistics = session_statistics(lm)
    prompts = ("I like", "The capital of", "Brie comes from", "The river", "It is", "A loaf of", "We see", "He said")
    words = [(p, lm.tokenizer.decode([int(logits(lm, p)[-1].argmax())])) for p in prompts]
    prompt, said = next((p, word.strip()) for p, word in words if word.startswith(" ") and word.strip().isalpha())
    nothing = EditRequest("same", (prompt,), "", (said,), lookup="last")
    twice = EditRequest("twice", ("I like", "I like"), "", ("tea", "bread"), lookup="last")
    empty, once = make_method("unembedding_swap").each(lm, [nothing, twice], statistics)
    assert not empty.factors and len(once.provenance["swaps"]) == 1
    assert isinstance(once.factors["transformer.wte.weight"], LowRank)
    assert isinstance(once.factors["transformer.wte.output"], TokenShift)
    joint = make_method("unembedding_swap")(lm, [twice, nothing, twice], statistics)
    assert joint.provenance["swaps"] == once.provenance["swaps"]
    for name, change in once.factors.items():
        assert joint.factors[name].norm() == pytest.approx(change.norm())


def breadth_first(lm: LanguageModel, requests, method, site) -> torch.Tensor:
    """The change (d_out, d_in): a copy's own parameter, trained in epochs of mini-batches by torch's Adam."""
    module = copy.deepcopy(lm.module)
    weight = module.get_parameter(site.weight).requires_grad_()
    old = weight.detach().clone()
    optimiser = torch.optim.Adam([weight], lr=method.lr * float(old.square().mean().sqrt()))
    texts = [t for r in requests for t in reference.texts_of(lm, r, [], r.lookup)]
    for epoch in range(method.steps):
        draw = torch.Generator().manual_seed(seed_for(method.seed, f"epoch {epoch}"))
        order = torch.randperm(len(texts), generator=draw).tolist()
        for start in range(0, len(order), method.batch):
            optimiser.zero_grad()
            loss_of(module, lm, [texts[i] for i in order[start : start + method.batch]], at_prompt=False).backward()
            optimiser.step()
    change = (weight - old).detach()
    return change.T if site.transposed else change


@pytest.mark.parametrize("family", fast_are(["gpt2"], ["gpt2", "llama"]))
def test_loc_ft_is_breadth_first(family: str) -> None:
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("loc_ft", steps=3, batch=3, lr=0.01, stop_loss=0.0, depth=0.8)
    requests = [REQUESTS[i] for i in (0, 1, 3, 4)]  # five prompts: a whole mini-batch and a rest
    site = lm.sites("mlp")[method.placement(lm, requests[0]).layers[0]]
    delta = method(lm, requests, statistics)
    expected = breadth_first(lm, requests, method, site)
    assert distance(delta.factors[site.weight].dense(), expected) < 1e-3
    assert delta.provenance["optimiser"]["steps"] == 3
    whole = make_method("loc_ft", steps=3, batch=0, lr=0.01, stop_loss=0.0, depth=0.8)(lm, requests, statistics)
    assert distance(whole.factors[site.weight].dense(), expected) > 1e-2


def test_one_edit_of_loc_ft_is_one_mini_batch() -> None:
    lm = model("gpt2")
    statistics = session_statistics(lm)
    same = {"steps": 3, "lr": 0.01, "depth": 0.8}
    (one,) = make_method("loc_ft", **same).each(lm, REQUESTS[:1], statistics)
    (two,) = make_method("ft_m", **same).each(lm, REQUESTS[:1], statistics)
    (name,) = one.weights
    assert torch.equal(one.factors[name].dense(), two.factors[name].dense())


def test_iterative_memit_is_memit_on_the_edited_model() -> None:
    """Two rounds, the second with the first one's change really in the weights."""
    lm = model("gpt2")
    statistics = session_statistics(lm)
    settings = {"lookup": "last", "depth": 0.5, "steps": 3, "prefixes": 1, "covariance_weight": 1.0}
    plain, request = make_method("memit", **settings), REQUESTS[0]
    (first,) = plain.each(lm, [request], statistics)
    with first.applied(lm):
        (second,) = plain.each(lm, [request], statistics)
    (delta,) = make_method("memit_iterative", **settings, rounds=2, reached=0.0).each(lm, [request], statistics)
    for name in first.weights:
        expected = first.factors[name].dense() + second.factors[name].dense()
        assert distance(delta.factors[name].dense(), expected) < 1e-5
    losses = delta.provenance["losses"]
    assert len(losses) == 2 and losses[1] < losses[0]
    (once,) = make_method("memit_iterative", **settings, reached=losses[0] + 1).each(lm, [request], statistics)
    assert torch.equal(once.factors[name].dense(), first.factors[name].dense())
    with pytest.raises(BadRequest, match="rounds"):
        make_method("memit_iterative", rounds=0)


def test_a_round_of_iterative_memit_that_raises_the_loss_is_undone() -> None:
    lm = model("gpt2")
    statistics = session_statistics(lm)
    settings = {"lookup": "last", "depth": 0.5, "steps": 3, "prefixes": 1, "reached": 0.0, "covariance_weight": 0.0}
    far = settings | {"clamp": 400.0, "lr": 100.0, "optimiser": "adam"}  # overshoots, further with each round
    request = REQUESTS[0]
    (delta,) = make_method("memit_iterative", **far).each(lm, [request], statistics)
    losses, rounds = delta.provenance["losses"], delta.provenance["optimiser"]
    assert losses[-1] > losses[-2] and len(rounds) == len(losses) - 1 < 5
    assert loss_under(lm, [request], delta) == pytest.approx(min(losses), abs=1e-4)
    (published,) = make_method("memit_iterative", **far, preset="published", rounds=3).each(lm, [request], statistics)
    assert len(published.provenance["losses"]) == len(published.provenance["optimiser"]) == 3


def test_edits_of_loc_ft_with_more_prompts_than_a_mini_batch_are_trained_by_themselves() -> None:
    """Among others, as alone."""
    lm = model("gpt2")
    statistics = session_statistics(lm)
    method = make_method("loc_ft", steps=2, batch=2, lr=0.01, stop_loss=0.0, depth=0.8)
    assert len(REQUESTS[2].prompts) > 2
    together = method.each(lm, REQUESTS, statistics)
    for request, delta in zip(REQUESTS, together, strict=True):
        (alone,) = method.each(lm, [request], statistics)
        (name,) = delta.weights
        assert delta.provenance["requests"][0]["id"] == request.id
        assert distance(delta.factors[name].dense(), alone.factors[name].dense()) < 1e-3
