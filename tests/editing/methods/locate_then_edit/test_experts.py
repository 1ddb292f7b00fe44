"""Edits of routed experts equal a literal loop over the experts, act as weights and as hooks alike, and leave every
other expert alone."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from editing.delta import Dense, LowRank
from editing.delta.delta import Delta, delta_hooks
from editing.delta.peft_export import export_peft
from editing.errors import BadData, BadModel, BadRequest, NoSite, Unreachable
from editing.eval import continuation_logprobs
from editing.export.merged import export_merged
from editing.export.plain import export_plain
from editing.methods import make_method
from editing.model.language_model import LanguageModel, hash_weights
from editing.run.forward import forward, pad
from editing.solve.routing import routes
from editing.stats.statistics import ModelStatistics
from editing.text import build_contexts
from tests.editing import reference
from tests.editing.families import tiny_lm, trained_lm
from tests.editing.reference_experts import LAYER, covariance, length, shares, written_out
from tests.editing.worked import LIGHT, REQUESTS, assert_equal, distance, session_statistics
from tests.tiers import fast_are

FAMILIES = ("mixtral", "qwen3_moe", "olmoe", "gpt_oss")
SETTINGS = {"site": "expert", "depth": 0.5, "steps": 6, "short_prefixes": 2, "long_prefixes": 2} | LIGHT


def dense(delta: Delta) -> torch.Tensor:
    """The only change of a delta."""
    (change,) = delta.factors.values()
    assert isinstance(change, LowRank | Dense)
    return change.dense()


def down_of(lm: LanguageModel) -> torch.Tensor:
    return lm.weight(f"model.layers.{LAYER}.mlp.experts.down_proj").detach().clone()


@pytest.fixture(scope="module", params=fast_are(["gpt_oss"], FAMILIES))
def pair(request: pytest.FixtureRequest) -> tuple[str, LanguageModel, LanguageModel]:
    lm = tiny_lm(request.param, spread=0.1)
    return request.param, lm, written_out(lm, request.param)


def test_an_edit_equals_the_literal_loop(pair: tuple[str, LanguageModel, LanguageModel]) -> None:
    """The choice of the expert, its covariance, and the change."""
    _, lm, loop = pair
    with torch.no_grad():
        ids = torch.tensor([lm.encode("The capital of France is")])
        assert torch.allclose(lm.module(input_ids=ids).logits, loop.module(input_ids=ids).logits, atol=1e-4)
    statistics = session_statistics(lm)
    method = make_method("rome", **SETTINGS)
    chosen = (REQUESTS[0], REQUESTS[2], REQUESTS[3])
    deltas = method.each(lm, chosen, statistics)
    assert len({d.weights for d in deltas}) > 1  # requests go to different experts
    for request, delta in zip(chosen, deltas, strict=True):
        texts = reference.texts_of(lm, request, statistics.prefixes({5: 2, 10: 2}), request.lookup)
        weight = torch.stack([shares(loop, t.ids)[t.lookup] for t in texts])
        reached = {i for t, w in zip(texts, weight, strict=True) if t.bare for i in torch.nonzero(w).flatten().tolist()}
        expert = max(reached, key=lambda i: float(weight[:, i].mean()))
        note = delta.provenance["expert"]
        assert note["index"] == expert and note["weight"] == pytest.approx(float(weight[:, expert].mean()), rel=1e-4)
        sent = [t for t, w in zip(texts, weight, strict=True) if w[expert] > 0]
        assert (note["contexts"], note["of_contexts"]) == (len(sent), len(texts))

        site = lm.expert_site(LAYER, expert)
        c, count = covariance(loop, statistics.sequences(), expert)
        assert statistics.covariance(site).tokens == count
        assert distance(statistics.covariance(site).matrix, c.float()) < 1e-4
        c += statistics.ridge * c.diagonal().mean() * torch.eye(len(c), dtype=torch.float64)

        path = f"model.layers.{LAYER}.mlp.experts.down.{expert}"
        keys = reference.read(loop, sent, path, "input")
        u = torch.inverse(c) @ keys.mean(0).double()
        u = (u / u.norm()).float()
        result = reference.optimise(loop, request, sent, request.lookup, path, None, method, length(loop, sent, expert))
        key = keys[[t.bare for t in sent]].mean(0)
        assert delta.weights == (site.weight,)
        assert_equal(dense(delta), torch.outer(result.delta / torch.dot(key, u), u), c)


def test_the_clamp_is_of_what_all_experts_put_out() -> None:
    """delta, times the router's weight, is at most that many times as long; published, as the expert's own output."""
    lm = tiny_lm("mixtral", spread=0.1)
    loop, settings = written_out(lm, "mixtral"), SETTINGS | {"short_prefixes": 0, "long_prefixes": 0, "clamp": 0.02}
    texts = reference.texts_of(lm, REQUESTS[0], (), REQUESTS[0].lookup)
    for preset in ("scale_free", "published"):
        (delta,) = make_method("rome", preset=preset, **settings).each(lm, REQUESTS[:1], session_statistics(lm))
        index = delta.provenance["expert"]["index"]
        own = reference.read(loop, texts, f"model.layers.{LAYER}.mlp.experts.down.{index}", "output")[0].norm()
        size = length(loop, texts, index) if preset == "scale_free" else float(own)
        assert delta.provenance["optimiser"]["delta_norm"] == pytest.approx(0.02 * size, rel=1e-3)


def test_some_contexts_are_sent_elsewhere() -> None:
    """Else the tests above say nothing of contexts that take no part."""
    lm = tiny_lm("mixtral", spread=0.1)
    prefixes = session_statistics(lm).prefixes({5: 2, 10: 2})
    contexts = [build_contexts(lm, r, prefixes) for r in (REQUESTS[0], REQUESTS[2], REQUESTS[3])]
    assert any(len(r.contexts.prompts) < len(r.request.prompts) for r in routes(lm, LAYER, contexts, "auto"))


def test_a_change_acts_alike_as_weights_hooks_and_in_a_copy(pair: tuple[str, LanguageModel, LanguageModel]) -> None:
    """One batch of sequences under different edits, of two experts, against each edit in the weights, against a change
    of the slice in a copy of the model; other experts keep their bits, and so does all of the model behind it."""
    family, lm, _ = pair
    sites = [lm.expert_site(LAYER, i) for i in (0, 1, 3)]
    draw = torch.Generator().manual_seed(0)
    deltas = [
        Delta({s.weight: LowRank(torch.randn(s.d_out, 1, generator=draw), torch.randn(s.d_in, 1, generator=draw))})
        for s in sites
    ]
    ids = lm.encode("The dairy food made from milk curds is called")
    before, weights = hash_weights(lm.module), down_of(lm)
    rows = [1, -1, 0, 2, 1]
    with torch.no_grad():
        batch = pad([ids[: len(ids) - i] for i in range(len(rows))], lm, side="right")
        last = torch.tensor([len(ids) - i - 1 for i in range(len(rows))])
        got = forward(lm, batch, hooks=delta_hooks(lm, deltas, rows), gather=(torch.arange(len(rows)), last))
        assert got is not None
        moved = 0
        for i, row in enumerate(rows):
            one = torch.tensor([ids[: len(ids) - i]])
            plain = lm.module(input_ids=one).logits[0, -1]
            other = copy.deepcopy(lm.module)
            if row >= 0:
                index, change = (0, 1, 3)[row], dense(deltas[row])
                other.model.layers[LAYER].mlp.experts.down_proj[index] += change.T if family == "gpt_oss" else change
            copied = other(input_ids=one).logits[0, -1]
            with (deltas[row] if row >= 0 else Delta({})).applied(lm):
                assert torch.equal(lm.module(input_ids=one).logits[0, -1], copied)
                changed = down_of(lm)
            kept = [e for e in range(4) if row < 0 or e != (0, 1, 3)[row]]
            assert torch.equal(changed[kept], weights[kept])
            assert float((got[i] - copied).abs().max()) < 1e-4 * float(copied.abs().max())
            moved += float((plain - copied).abs().max()) > 1e-3 * float(plain.abs().max())
    assert moved >= 2 and hash_weights(lm.module) == before


def test_the_edit_makes_its_fact_and_is_saved_composed_and_merged(tmp_path: Path) -> None:
    lm = trained_lm("mixtral")
    statistics = session_statistics(lm)
    request = dataclasses.replace(REQUESTS[0], lookup="last")
    other = dataclasses.replace(REQUESTS[3], lookup="last", prompts=("{} is sold by the",), targets=("baker",))
    before = hash_weights(lm.module)
    method = make_method("r_rome", site="expert", depth=0.5, short_prefixes=2, long_prefixes=2)
    delta = method.each(lm, [request], statistics)[0]
    ((fact, usual),) = continuation_logprobs(lm, request.filled(), [["Madrid", "Wellington"]], [delta])
    assert fact > usual
    same = Delta.load(delta.save(tmp_path / "delta"))
    assert same.weights == delta.weights and same.provenance["expert"] == delta.provenance["expert"]
    both = method(lm, [request, other], statistics)
    assert hash_weights(lm.module) == before and both.provenance["mode"] == "sequential"
    for one, target, usual in ((request, "Madrid", "Wellington"), (other, "baker", "cheesemonger")):
        ((new, old),) = continuation_logprobs(lm, one.filled(), [[target, usual]], [both])
        assert new > old
    export_merged(delta, lm, tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    ids = torch.tensor([lm.encode("The capital of New Zealand is the city of")])
    with delta.applied(lm), torch.no_grad():
        assert torch.allclose(merged(input_ids=ids).logits, lm.module(input_ids=ids).logits, atol=1e-5)
    with pytest.raises(BadRequest, match="one of a block's routed experts"):
        export_peft(delta, lm, tmp_path / "adapter")
    (about,) = json.loads((export_plain(delta, lm, tmp_path / "plain") / "change.json").read_text())["changes"]
    index = delta.provenance["expert"]["index"]
    assert (about["slice_of"], about["index"]) == (f"model.layers.{LAYER}.mlp.experts.down_proj", index)


def test_controls_and_wrappers_of_rank_one_edits_take_experts() -> None:
    lm = tiny_lm("mixtral", spread=0.1)
    statistics, requests = session_statistics(lm), [dataclasses.replace(REQUESTS[0], lookup="last")]
    few = {"steps": 3, "short_prefixes": 1, "long_prefixes": 1}
    (plain,) = make_method("rome", **SETTINGS | few).each(lm, requests, statistics)
    options = '{"steps": 3, "short_prefixes": 1, "long_prefixes": 1, "optimiser": "adam", "weight_decay": 0.002, "move_above": 0.0}'
    for name in ("placebo", "norm_anchor", "rect", "sphere", "random_layer"):
        method = make_method(name, inner="rome", site="expert", depth=0.5, options=options)
        (delta,) = method.each(lm, requests, statistics)
        (weight,) = delta.weights
        assert ".mlp.experts." in weight and bool(dense(delta).any())
        if name in ("norm_anchor", "rect", "sphere"):
            assert weight == plain.weights[0]


def test_an_expert_by_its_index() -> None:
    lm = tiny_lm("mixtral", spread=0.1)
    statistics = session_statistics(lm)
    (auto,) = make_method("rome", **SETTINGS).each(lm, REQUESTS[:1], statistics)
    index = auto.provenance["expert"]["index"]
    method = make_method("rome", expert=index, **SETTINGS)
    assert method.edited_sites(lm, REQUESTS[0]) == (lm.expert_site(LAYER, index),)
    (by_index,) = method.each(lm, REQUESTS[:1], statistics)
    assert by_index.weights == auto.weights and torch.equal(dense(by_index), dense(auto))
    (route,) = routes(lm, LAYER, [build_contexts(lm, REQUESTS[0], ())], "auto")
    elsewhere = next(i for i in range(4) if not routes_to(lm, i))
    assert route.index != elsewhere
    with pytest.raises(Unreachable, match=rf"block 2 sends its prompt to experts .*, not to {elsewhere}; use one of"):
        make_method("rome", expert=elsewhere, **SETTINGS).each(lm, REQUESTS[:1], statistics)


def routes_to(lm: LanguageModel, index: int) -> bool:
    try:
        return bool(routes(lm, LAYER, [build_contexts(lm, REQUESTS[0], ())], index))
    except Unreachable:
        return False


def test_what_cannot_be_edited_is_refused_in_one_line(tmp_path: Path) -> None:
    lm, dense = tiny_lm("mixtral", spread=0.1), tiny_lm("llama")
    statistics = session_statistics(lm)
    with pytest.raises(NoSite, match="tiny-llama has no routed experts that can be edited: it is dense; use site mlp"):
        make_method("rome", **SETTINGS).each(dense, REQUESTS[:1], session_statistics(dense))
    with pytest.raises(NoSite, match=r"tiny-llama4_text has no routed .*: its experts are built in another way"):
        tiny_lm("llama4_text").expert_site(LAYER, 0)
    with pytest.raises(NoSite, match="block 2 has experts 0 to 3, no expert 4; use one of these"):
        make_method("rome", expert=4, **SETTINGS).each(lm, REQUESTS[:1], statistics)
    with pytest.raises(NoSite, match="block 2 has no routed experts; blocks 1, 3 have, set depth"):
        tiny_lm("jamba").expert_site(LAYER, 0)
    with pytest.raises(
        BadRequest, match="method grace: site='expert'; its codebook stands beside a map that runs for every token; use"
    ):
        make_method("grace", site="expert")
    with pytest.raises(
        BadRequest, match=r"method ft_m: site='expert'; its gradients .* or one of mlp, value, attn here"
    ):
        make_method("norm_anchor", inner="ft_m", site="expert")
    with pytest.raises(BadRequest, match="expert='first'; it must be auto or the index of an expert"):
        make_method("rome", expert="first")
    with pytest.raises(BadModel, match="has 4 experts; this delta is for another model"):
        lm.submodule("model.layers.2.mlp.experts.7.down_proj")
    (tmp_path / "text.txt").write_text("The capital of France is the city of Paris.")
    short = ModelStatistics(lm, tmp_path, f"text:{tmp_path / 'text.txt'}")
    with pytest.raises(BadData, match=r"of its tokens are sent to model.layers.2.mlp.experts.\d.down_proj, whose keys"):
        make_method("rome", **SETTINGS).each(lm, REQUESTS[:1], short)


def test_covariances_are_those_of_the_unedited_model(tmp_path: Path) -> None:
    """Where a step of a sequence is sent to an expert that no covariance was made for."""
    lm = tiny_lm("mixtral", spread=0.1)
    site, first = lm.expert_site(3, 0), lm.expert_site(0, 1)
    expected = ModelStatistics(lm, tmp_path / "one", "samples:400").covariance(site)
    statistics = ModelStatistics(lm, tmp_path / "two", "samples:400")
    with lm.writing() as weights:
        changed = 3 * lm.values(first.weight)
        weights.write(first.weight, changed)
        got = statistics.covariance(site)
        assert torch.equal(lm.values(first.weight), changed)
    assert got.tokens == expected.tokens and torch.equal(got.matrix, expected.matrix)
