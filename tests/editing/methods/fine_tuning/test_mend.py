"""MEND against the gradient of the weight, eq. 3 token by token, and eq. 4 with each edit really applied."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing.delta.delta import Delta, LowRank
from editing.errors import BadRequest
from editing.methods import make_method
from editing.methods.fine_tuning.gradients import Features, read_features
from editing.methods.fine_tuning.hypernetwork import Hypernetwork, shape_name
from editing.methods.fine_tuning.mend_training import TARGET, _lessons, _loss, train
from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics
from editing.text import build_contexts
from editing.text.requests import EditRequest
from tests.editing.families import tiny_lm
from tests.tiers import fast_are

REQUEST = EditRequest("fact", ("The capital of {} is the city of",), "France", ("Rome and Paris",), lookup="last")
SMALL = make_method("mend", steps=12, edits=12, batch=4, rank=5)


def networks(lm: LanguageModel, sites, scale: float) -> Hypernetwork:
    """A network with random parameters, or with scale 0 that of the start, without normalisation."""
    draw = torch.Generator().manual_seed(1)
    rows = {s: Features(*(torch.randn(20, d, generator=draw) for d in (s.d_in, s.size, s.size))) for s in sites}
    network = Hypernetwork.start(sites, rows, dict.fromkeys(sites, 0.3), 5, 0)
    tensors = {name: t + scale * torch.randn(t.shape, generator=draw) / 5 for name, t in network.tensors.items()}
    for site in sites:
        if not scale:
            tensors[f"{shape_name(site)}.mean"] = torch.zeros(site.d_in + site.size)
            tensors[f"{shape_name(site)}.deviation"] = torch.ones(site.d_in + site.size)
    return Hypernetwork(tensors)


@pytest.mark.parametrize("family", fast_are(["gpt2"], ["gpt2", "llama", "opt"]))
def test_at_the_start_the_change_is_a_step_down_the_gradient(family: str) -> None:
    lm = tiny_lm(family, spread=0.2)
    sites = list(lm.sites("mlp")[-2:])
    (context,) = [build_contexts(lm, REQUEST, (), None)]
    changes = SMALL._changes(lm, networks(lm, sites, 0.0), sites, context)
    (prompt,) = context.prompts
    for site in sites:
        weight = lm.weight(site.weight)
        weight.requires_grad_(True)
        try:
            with torch.enable_grad():
                logits = lm.module(input_ids=torch.tensor([prompt.ids])).logits[0].float().log_softmax(-1)
                target = torch.tensor(prompt.target)
                loss = -logits[prompt.start - 1 :].gather(1, target[:, None]).mean()
                (slope,) = torch.autograd.grad(loss, weight)
        finally:
            weight.requires_grad_(False)
        slope = slope.T if slope.shape != (site.d_out, site.d_in) else slope
        assert torch.allclose(changes[site.weight].dense(), -0.3 * slope, atol=1e-5 * float(slope.abs().max()))


def test_the_network_is_equation_3() -> None:
    lm = tiny_lm("gpt2", spread=0.2)
    (site,) = lm.sites("mlp")[-1:]
    network = networks(lm, [site], 1.0)
    draw = torch.Generator().manual_seed(2)
    features = Features(*(torch.randn(4, d, generator=draw) for d in (site.d_in, site.size, site.size)))
    features.gradient[2] = 0
    key, value = network.factors(site, features)
    shared = {n: network.tensors[f"{shape_name(site)}.{n}"] for n in ("u1", "v1", "b", "u2", "v2", "mean", "deviation")}
    own = {n: network.tensors[f"{site.path}.{n}"] for n in ("s1", "o1", "s2", "o2", "rate")}
    for t in range(4):
        z = (torch.cat([features.key[t], features.gradient[t]]) - shared["mean"]) / shared["deviation"]
        h = z + torch.relu(own["s1"] * (shared["u1"] @ shared["v1"] @ z + shared["b"]) + own["o1"])
        g = h + torch.relu(own["s2"] * (shared["u2"] @ shared["v2"] @ h) + own["o2"])
        g = torch.zeros_like(g) if t == 2 else g
        assert torch.allclose(key[t], g[: site.d_in], atol=1e-5)
        assert torch.allclose(value[t], -own["rate"].exp() * g[site.d_in :], atol=1e-5)


def test_the_loss_is_equation_4_with_each_edit_applied() -> None:
    lm = tiny_lm("gpt2", spread=0.2)
    sites = list(lm.sites("mlp")[-2:])
    lesson = _lessons(lm, sites, SMALL, 0)[0]
    network = networks(lm, sites, 0.3)
    total = 0.0
    head = len(tuple(lm.prefix_ids) or (lm.pad_id,))
    for edit in range(lesson.count):
        own = slice(edit * lesson.tokens, (edit + 1) * lesson.tokens)
        changes = {}
        for site, rows in lesson.features.items():
            key, value = network.factors(site, Features(rows.key[own], rows.gradient[own], rows.output[own]))
            changes[site.weight] = LowRank(value.T.contiguous(), key.T.contiguous())
        texts = [row[mask.bool()] for row, mask in zip(lesson.splice.batch.ids, lesson.splice.batch.mask, strict=True)]
        target = lesson.spots[(lesson.spots[:, 0] == 3 * edit), 2]
        with torch.no_grad():
            plain = lm.module(input_ids=texts[3 * edit + 2][None]).logits[0].log_softmax(-1)[head:]
            with Delta(changes).applied(lm):
                logits = [lm.module(input_ids=texts[3 * edit + i][None]).logits[0].log_softmax(-1) for i in range(3)]
        nll = [-one[-TARGET:].gather(1, target[:, None]).mean() for one in logits[:2]]
        kl = (plain.exp() * (plain - logits[2][head:])).sum(1).mean()
        total += float(0.1 * sum(nll) / 2 + kl) / lesson.count
    with torch.no_grad():
        assert float(_loss(network, lesson, 0.1)) == pytest.approx(total, rel=1e-4)


def test_training_lowers_the_loss_and_is_repeatable() -> None:
    lm = tiny_lm("gpt2", spread=0.3)
    sites = list(lm.sites("mlp")[-1:])
    (one, last), (two, _) = (train(lm, sites, SMALL, 0.1, True, 0) for _ in range(2))
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    _, first = train(lm, sites, make_method("mend", steps=3, edits=12, batch=4, rank=5, lr=1e-9), 0.1, True, 0)
    assert last < first


def test_the_network_is_trained_once_and_kept(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2", spread=0.3)
    statistics = ModelStatistics(lm, tmp_path, "samples:800")
    (one,) = SMALL.each(lm, [REQUEST], statistics)
    (kept,) = tmp_path.rglob("mend-*.safetensors")
    made = kept.stat().st_mtime_ns
    (two,) = SMALL.each(lm, [REQUEST], ModelStatistics(lm, tmp_path, "samples:800"))
    assert kept.stat().st_mtime_ns == made
    for name in one.weights:
        assert torch.equal(one.factors[name].dense(), two.factors[name].dense())
    make_method("mend", steps=5, edits=12, batch=4, rank=5).prepare(lm, [REQUEST], statistics)
    assert len(list(tmp_path.rglob("mend-*.safetensors"))) == 2


def test_the_network_is_that_of_the_unedited_model(tmp_path: Path) -> None:
    """A first edit on a model that carries another one: the network on disk serves all later edits."""
    lm = tiny_lm("gpt2", spread=0.3)
    (expected,) = SMALL.each(lm, [REQUEST], ModelStatistics(lm, tmp_path / "plain", "samples:800"))
    statistics = ModelStatistics(lm, tmp_path / "edited", "samples:800")
    with expected.scaled(5).applied(lm):
        SMALL.each(lm, [REQUEST], statistics)
    (later,) = SMALL.each(lm, [REQUEST], statistics)
    for name in expected.weights:
        assert torch.equal(later.factors[name].dense(), expected.factors[name].dense())


def test_all_tokens_of_a_text_are_read_in_order() -> None:
    lm = tiny_lm("gpt2", spread=0.2)
    (site,) = lm.sites("mlp")[-1:]
    contexts = [build_contexts(lm, r, (), None) for r in (REQUEST, EditRequest("b", ("I like",), "", ("tea",), "last"))]
    both = read_features(lm, contexts, [site], [[1.0], [1.0]], "text")[site]
    alone = [read_features(lm, [c], [site], [[1.0]], "text")[site] for c in contexts]
    assert torch.allclose(both.key, torch.cat([a.key for a in alone]), atol=1e-5)
    assert len(both.key) == sum(len(p.ids) for c in contexts for p in c.prompts)


@pytest.mark.parametrize("setting", ["rate", "steps", "edits", "batch", "rank"])
def test_nothing_to_train_with_is_refused(setting: str) -> None:
    with pytest.raises(BadRequest, match=f"{setting}=0"):
        make_method("mend", **{setting: 0})
