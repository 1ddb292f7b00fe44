"""Fine-tuning and LoRA equal torch.optim on really trained parameters, one request at a time and full passes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from editing.delta.changes import Dense
from editing.errors import BadRequest, UserError
from editing.eval import continuation_logprobs
from editing.methods import make_method
from editing.model.language_model import LanguageModel, hash_weights
from editing.stats.statistics import ModelStatistics
from tests.editing import reference
from tests.editing.worked import REQUESTS, distance, model, session_statistics
from tests.tiers import fast_are


def loss_of(module, lm: LanguageModel, texts: list[reference.Text], at_prompt: bool) -> torch.Tensor:
    """Mean over contexts of the mean NLL of the target's tokens; each text in a pass of its own."""
    losses = []
    for text in texts:
        ids = text.ids if at_prompt else [*text.ids, *text.target[:-1]]
        log_p = module(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
        where = [len(text.ids) - 1 + (0 if at_prompt else t) for t in range(len(text.target))]
        losses.append(-log_p[where, text.target].mean())
    return torch.stack(losses).mean()


def fine_tuned(lm: LanguageModel, requests, method, site, *, at_prompt: bool) -> tuple[torch.Tensor, int]:
    """The change (d_out, d_in) of a copy's own parameter, and the number of updates."""
    module = copy.deepcopy(lm.module)
    weight = module.get_parameter(site.weight).requires_grad_()
    old = weight.detach().clone()
    unit = float(old.square().mean().sqrt()) if method.units == "relative" else 1.0
    if site.rows is not None:
        others = torch.ones(site.d_out, dtype=torch.bool)
        others[list(site.rows)] = False
        weight.register_hook(lambda g: g.masked_fill(others if site.transposed else others[:, None], 0.0))
    texts = [t for r in requests for t in reference.texts_of(lm, r, [], r.lookup)]
    optimiser = torch.optim.Adam([weight], lr=method.lr * unit)
    steps = 0
    for _ in range(method.steps):
        optimiser.zero_grad()
        loss = loss_of(module, lm, texts, at_prompt)
        if loss.item() < method.stop_loss:
            break
        loss.backward()
        optimiser.step()
        steps += 1
        if method.bound:
            with torch.no_grad():
                weight.copy_(old + (weight - old).clamp(-method.bound * unit, method.bound * unit))
    change = (weight - old).detach()
    return (change.T if site.transposed else change), steps


@pytest.mark.parametrize(
    ("family", "name"),
    fast_are(
        [("gpt2", "ft_l"), ("gemma2", "ft_m")],
        [(family, "ft_l") for family in ("gpt2", "llama", "opt", "falcon")]
        + [(family, "ft_m") for family in ("gpt2", "gpt_neox", "gemma2", "bloom", "mistral")],
    ),
)
def test_fine_tuning_equals_torch(family: str, name: str, tmp_path: Path) -> None:
    """All requests in one descent against one at a time."""
    lm = model(family)
    method = make_method(name, depth=0.5, steps=6, lr=0.05, bound=0.3 if name == "ft_l" else 0.0)
    before = hash_weights(lm.module)
    chosen = (REQUESTS[0], *REQUESTS[2:4])
    deltas = method.each(lm, chosen, ModelStatistics(lm, tmp_path, "identity"))
    assert hash_weights(lm.module) == before
    site = lm.sites("mlp")[2]
    for request, delta in zip(chosen, deltas, strict=True):
        slow, steps = fine_tuned(lm, [request], method, site, at_prompt=name == "ft_l")
        assert delta.weights == (site.weight,) and delta.provenance["optimiser"]["steps"] == steps
        assert distance(delta.factors[site.weight].dense(), slow) < 1e-3
        if name == "ft_l":
            limit = method.bound * float(lm.weight(site.weight).square().mean().sqrt())
            largest = float(delta.factors[site.weight].dense().abs().max())
            assert largest <= limit * (1 + 1e-6) and largest > 0.99 * limit


@pytest.mark.parametrize("family", fast_are(["gpt_neox"], ["gpt2", "gpt_neox", "llama"]))
def test_only_the_value_rows_are_tuned(family: str, tmp_path: Path) -> None:
    lm = model(family)
    method = make_method("ft_m", site="value", depth=0.5, steps=4)
    (delta,) = method.each(lm, REQUESTS[:1], ModelStatistics(lm, tmp_path, "identity"))
    site = lm.sites("value")[2]
    slow, _ = fine_tuned(lm, REQUESTS[:1], method, site, at_prompt=False)
    fast = delta.factors[site.weight].dense()
    assert distance(fast, slow) < 2e-3
    if site.rows is not None:
        assert not fast[sorted(set(range(site.d_out)) - set(site.rows))].any()


def test_requests_stop_on_their_own_and_a_joint_edit_is_one_loss(trained_lm: LanguageModel) -> None:
    statistics = session_statistics(trained_lm)
    method = make_method("ft_m", depth=0.5, steps=14, lr=0.3, stop_loss=1.0)
    site = trained_lm.sites("mlp")[2]
    steps = []
    for request, delta in zip(REQUESTS, method.each(trained_lm, REQUESTS, statistics), strict=True):
        slow, updates = fine_tuned(trained_lm, [request], method, site, at_prompt=False)
        steps.append(delta.provenance["optimiser"]["steps"])
        assert steps[-1] == updates
        assert distance(delta.factors[site.weight].dense(), slow) < 5e-3 if updates else not slow.any()
    assert len(set(steps)) >= 3, steps
    joint = method(trained_lm, REQUESTS[:3:2], statistics)
    # their depths are the same, their prompts of different number: every prompt counts the same
    slow, _ = fine_tuned(trained_lm, REQUESTS[:3:2], method, site, at_prompt=False)
    assert distance(joint.factors[site.weight].dense(), slow) < 5e-3


def test_absolute_units_are_the_papers(tmp_path: Path) -> None:
    lm = model("llama")
    method = make_method("ft_l", units="absolute", lr=5e-4, bound=5e-4, depth=0.5, steps=5)
    (delta,) = method.each(lm, REQUESTS[:1], ModelStatistics(lm, tmp_path, "identity"))
    (change,) = delta.factors.values()
    assert isinstance(change, Dense) and float(change.matrix.abs().max()) == pytest.approx(5e-4, rel=1e-5)


@pytest.mark.parametrize(
    ("family", "preset"),
    fast_are(
        [("gpt2", "published"), ("llama", "scale_free")],
        [("gpt2", "published"), ("llama", "published"), ("gpt_neox", "published"), ("llama", "scale_free")],
    ),
)
def test_lora_equals_peft(family: str, preset: str) -> None:
    """PEFT's own layers, the same start, torch.optim.Adam, whose steps are lr in the units of A and of B."""
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method(
        "lora", site="mlp", more_sites="attn", span=0.5, depth=0.99, steps=6, rank=3, alpha=6.0, prefixes=2, lr=0.005,
        preset=preset,
    )  # fmt: skip
    chosen = (REQUESTS[0], *REQUESTS[2:4])
    deltas = method.each(lm, chosen, statistics)
    sites = [lm.sites(kind)[layer] for kind in ("mlp", "attn") for layer in (2, 3)]
    for request, delta in zip(chosen, deltas, strict=True):
        assert set(delta.weights) == {s.weight for s in sites}
        config = LoraConfig(
            r=3, lora_alpha=6, target_modules=[s.path for s in sites], fan_in_fan_out=sites[0].transposed
        )
        adapted = get_peft_model(copy.deepcopy(lm.module), config).eval()
        begun = method.start(sites, request.id)
        modules = [adapted.get_submodule(f"base_model.model.{s.path}") for s in sites]
        with torch.no_grad():
            for module, start in zip(modules, begun, strict=True):
                module.lora_A["default"].weight.copy_(start)
        texts = reference.texts_of(lm, request, statistics.prefixes({10: 2}), request.lookup)
        groups = []
        for site, module in zip(sites, modules, strict=True):
            rms = float(lm.weight(site.weight).square().mean().sqrt())
            of_a, of_b = (site.d_in**-0.5, site.d_in**0.5 * rms) if preset == "scale_free" else (1.0, 1.0)
            groups.append({"params": list(module.lora_A.parameters()), "lr": method.lr * of_a})
            groups.append({"params": list(module.lora_B.parameters()), "lr": method.lr * of_b})
        optimiser = torch.optim.Adam(groups)
        for _ in range(method.steps):
            optimiser.zero_grad()
            loss_of(adapted, lm, texts, False).backward()
            optimiser.step()
        for site, module in zip(sites, modules, strict=True):
            expected = 2.0 * module.lora_B["default"].weight @ module.lora_A["default"].weight
            assert distance(delta.factors[site.weight].dense(), expected.detach()) < 2e-3, site.path


@pytest.mark.parametrize("name", ["ft_l", "ft_m", "lora"])
def test_the_target_becomes_the_answer(name: str, trained_lm: LanguageModel) -> None:
    """Efficacy on a model that knows something: by a hundredfold, and the greater, the more steps."""
    statistics = session_statistics(trained_lm)
    prompts, targets = [r.filled()[0] for r in REQUESTS[:4]], [[r.targets[0]] for r in REQUESTS[:4]]
    before = continuation_logprobs(trained_lm, prompts, targets)
    more = {"bound": 0.5, "lr": 0.2, "depth": 0.65} if name == "ft_l" else {"lr": 0.05 if name == "ft_m" else 0.01}
    reached = []
    for steps in (3, 12):
        deltas = make_method(name, steps=steps, **more).each(trained_lm, REQUESTS[:4], statistics)
        after = continuation_logprobs(trained_lm, prompts, targets, deltas, range(4))
        reached.append(sum(float(a[0] - b[0]) for a, b in zip(after, before, strict=True)) / 4)
    assert reached[1] > reached[0] > 0 and reached[1] > 4.6, reached


def test_by_default_one_weight_of_a_late_block_is_tuned_and_a_bound_acts_late(tmp_path: Path) -> None:
    """FT-L's and FT-M's place is LocFT's; 25 steps of the default's rate stay inside FT-L's bound, 50 do not."""
    lm = model("gpt2")
    statistics = ModelStatistics(lm, tmp_path, "identity")
    names = {make_method(name, steps=1).each(lm, REQUESTS[:1], statistics)[0].weights for name in ("ft_l", "ft_m")}
    assert names == {make_method("loc_ft", steps=1).each(lm, REQUESTS[:1], statistics)[0].weights}
    for steps in (25, 50):
        free, bound = (
            make_method("ft_l", stop_loss=0.0, steps=steps, **own).each(lm, REQUESTS[:1], statistics)[0]
            for own in ({"bound": 0.0}, {})
        )
        (name,) = bound.weights
        assert torch.equal(free.factors[name].dense(), bound.factors[name].dense()) == (steps == 25)
    assert make_method("ft_m", preset="published").settings()["depth"] == 0.65


def test_bad_settings() -> None:
    for settings, match in (
        ({"units": "percent"}, "units"),
        ({"steps": -1}, "steps"),
    ):
        with pytest.raises(BadRequest, match=match):
            make_method("ft_l", **settings)
    for settings, match in (({"more_sites": "mlp,up"}, "up"), ({"rank": 0}, "rank"), ({"span": 1.5}, "span")):
        with pytest.raises(BadRequest, match=match):
            make_method("lora", **settings)


def test_a_loss_that_is_not_finite_is_named(tmp_path: Path) -> None:
    lm = model("gpt2")
    lm.module.transformer.h[3].mlp.c_proj.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="request 'fact': the loss is not finite at step 0"):
        make_method("ft_m", depth=0.5, steps=2).each(lm, REQUESTS[:2], ModelStatistics(lm, tmp_path, "identity"))
