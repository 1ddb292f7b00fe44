"""v* by Gauss-Newton, and contexts that begin alike: shared work gives what separate work gives, in every family."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from editing.errors import BadRequest
from editing.methods import make_method
from editing.model.language_model import LanguageModel
from editing.run.forward import forward, pad, prefill, prefill_shared
from editing.solve.keys import states
from editing.solve.objective import Problem
from editing.solve.solvers import _least_norm, _missing_odds, gauss_newton
from editing.solve.value import Injection, Value, ValueSettings, optimise_values
from editing.text.contexts import build_contexts
from editing.text.requests import EditRequest
from tests.editing import reference
from tests.editing.families import BY_CACHE, FAMILIES, tiny_lm
from tests.editing.worked import REQUESTS, session_statistics
from tests.tiers import fast_are

PREFIXES = ("The river runs through the old town", "Zoe likes tea", "I", "Because the dog barks at the baker")


@pytest.mark.parametrize("family", fast_are(BY_CACHE, FAMILIES))
def test_contexts_that_begin_alike_are_read_once(family: str) -> None:
    """Beginnings of different lengths, one of them empty; a window of 5 is shorter than all of them together."""
    lm = tiny_lm(family)
    draw = torch.Generator().manual_seed(0)
    random = lambda n: torch.randint(3, 99, (n,), generator=draw).tolist()  # noqa: E731
    heads = [random(7), [], random(3)]
    sequences = [head + random(n) for n in (4, 1, 6) for head in heads] + [heads[0]]
    lengths = [len(h) for _ in range(3) for h in heads] + [7]
    with torch.no_grad():
        shared = prefill_shared(lm, sequences, lengths)
        plain, _ = prefill(lm, sequences)
        assert shared is not None and plain is not None
        assert torch.equal(shared.lengths(), plain.lengths())
        after = pad([[5, 6]] * len(sequences), lm, side="right", first=plain.lengths())
        one, two = (forward(lm, after, past=past) for past in (shared, plain))
    assert one is not None and two is not None
    assert float((one - two).abs().max()) < 1e-4 * float(two.abs().max())


@pytest.mark.parametrize(
    "family",
    fast_are(["gpt2", "falcon"], ["gpt2", "llama", "gemma2", "bloom", "gpt_neox", "mistral", "opt", "falcon"]),
)
def test_keys_behind_shared_texts_equal_those_of_whole_texts(family: str) -> None:
    lm = tiny_lm(family)
    expected = [(lm.sites("mlp")[1].path, "input"), (lm.layout.blocks[3], "output")]
    contexts = [build_contexts(lm, r, PREFIXES) for r in REQUESTS]
    prompts = [p for c in contexts for p in c.prompts]
    assert len({p.ids[: p.head] for p in prompts}) <= 1 + len(PREFIXES) < len(prompts) / 2
    result = states(lm, prompts, expected)
    texts = [t for r in REQUESTS for t in reference.texts_of(lm, r, PREFIXES, r.lookup)]
    for path, side in expected:
        slow = reference.read(lm, texts, path, side)
        assert float((result[path, side] - slow).norm()) < 1e-5 * float(slow.norm())


def facts() -> list[EditRequest]:
    """Answers of one token, which a small model can be made to give."""
    words = {"fact": "the", "start": "city", "french": "language"}
    chosen = [r for r in REQUESTS if r.id in words]
    return [EditRequest(r.id, r.prompts, r.subject, (words[r.id],), "last", r.lang) for r in chosen]


def test_gauss_newton_reaches_the_answer_with_smaller_changes(trained_lm: LanguageModel) -> None:
    lm = trained_lm
    contexts = [build_contexts(lm, r, PREFIXES) for r in facts()]
    where = Injection.at_site(lm.sites("mlp")[2])
    roomy = {"steps": 60, "clamp": 50.0, "weight_decay": 0.0, "stop_loss": 0.2, "kl": 0.0}
    adam = optimise_values(lm, contexts, where, ValueSettings(preset="published", optimiser="adam", lr=0.5, **roomy))
    newton = optimise_values(lm, contexts, where, ValueSettings(optimiser="gauss_newton", **roomy))
    assert all(v.loss < 0.2 and v.steps <= 10 for v in (*newton, *adam))
    assert sum(float(v.delta.norm()) for v in newton) < 0.9 * sum(float(v.delta.norm()) for v in adam)


def test_a_request_does_not_depend_on_its_neighbours(trained_lm: LanguageModel) -> None:
    lm = trained_lm
    contexts = [build_contexts(lm, r, PREFIXES) for r in facts()]
    where = Injection.at_site(lm.sites("mlp")[2])
    settings = ValueSettings(optimiser="gauss_newton", steps=4, clamp=50.0, contexts_per_step=2)
    together = optimise_values(lm, contexts, where, settings)
    for i, context in enumerate(contexts):
        (alone,) = optimise_values(lm, [context], where, settings)
        assert float((alone.delta - together[i].delta).norm()) < 1e-3 * float(alone.delta.norm())


def test_the_request_without_a_target_is_named(trained_lm: LanguageModel) -> None:
    one, two = (build_contexts(trained_lm, request, ()) for request in REQUESTS[:2])
    one = replace(one, prompts=tuple(replace(p, target=()) for p in one.prompts))  # the longer one, read second
    with pytest.raises(BadRequest, match=f"request '{one.id}': v"):
        optimise_values(trained_lm, [one, two], Injection.at_site(trained_lm.site("mlp", 1)), ValueSettings())


def test_the_search_ends_with_the_places_that_are_written(trained_lm: LanguageModel) -> None:
    """With attention and MLP together the MLP's part is too little alone; the loss is that of the part by itself."""
    lm = trained_lm
    contexts = [build_contexts(lm, r, PREFIXES) for r in facts()]
    places = (Injection.at_site(lm.site("mlp", 2)), Injection.at_site(lm.site("attn", 2)))
    settings = ValueSettings(clamp=50.0, kl=0.0, stop_loss=0.01)
    together = optimise_values(lm, contexts, places, settings)
    written = optimise_values(lm, contexts, places, settings, written=1)
    problem = Problem(lm, contexts, places[:1], settings, 0)
    step = problem.step(np.ones(len(contexts), dtype=bool))

    def alone(values: list[Value]) -> torch.Tensor:
        delta = torch.stack([v.delta[: lm.d_model] for v in values])
        return problem.mean_over_contexts(problem.row_losses(delta[step.owner], step), step).detach()

    assert all(v.loss < 0.01 and v.steps < 20 for v in (*together, *written))
    assert all(alone(together) > 0.02)
    assert torch.allclose(alone(written), torch.tensor([v.loss for v in written]), atol=1e-4)
    assert all(not v.delta[lm.d_model :].any() for v in written)


def test_places_share_a_change_in_the_unit_of_their_outputs(trained_lm: LanguageModel) -> None:
    """A place that writes the same through a factor of 100 carries the same share of the change as without."""
    lm = trained_lm
    contexts = [build_contexts(lm, r, PREFIXES) for r in facts()]
    places = (Injection.at_site(lm.site("mlp", 2)), Injection.at_site(lm.site("attn", 2)))
    settings = ValueSettings(clamp=50.0, kl=0.0, steps=2)
    plain, scaled = Problem(lm, contexts, places, settings, 0), Problem(lm, contexts, places, settings, 0)
    _, attention = plain.parts
    factor = torch.ones_like(plain.v0[0])
    factor[attention] = 100
    losses = scaled.row_losses
    scaled.row_losses = lambda delta, step: losses(delta / factor, step)  # type: ignore[method-assign]
    scaled.v0, scaled.scale = plain.v0 * factor, plain.scale * torch.tensor([1.0, 100.0])
    for one, other in zip(gauss_newton(plain, 2), gauss_newton(scaled, 2), strict=True):
        assert float(one.delta[attention].norm()) > 0
        assert torch.allclose(one.delta, other.delta / factor, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("optimiser", ["adam", "gauss_newton"])
def test_a_change_behind_a_block_is_that_of_its_map(trained_lm: LanguageModel, optimiser: str) -> None:
    """In the unit of the map's output; in that of the residual stream, which is longer, steps are longer."""
    lm = trained_lm
    contexts = [build_contexts(lm, r, PREFIXES) for r in facts()]
    site = lm.site("mlp", 1)
    settings = ValueSettings(optimiser=optimiser, steps=6, stop_loss=0.0, clamp=2.0)

    def change(place: Injection, settings: ValueSettings = settings) -> torch.Tensor:
        return torch.stack([value.delta for value in optimise_values(lm, contexts, place, settings)])

    at_map, behind = change(Injection.at_site(site)), change(Injection.at_block(lm, 1, unit=site.path))
    assert torch.allclose(at_map, behind, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(at_map, change(Injection.at_block(lm, 1)), rtol=0.05)
    published = ValueSettings(preset="published", steps=3)
    whole = change(Injection.at_block(lm, 1), published)
    assert torch.equal(whole, change(Injection.at_block(lm, 1, unit=site.path), published))


def test_steps_are_of_log_odds() -> None:
    """Against the definition in float64, from far to nearly reached and beyond the aim."""
    nats = torch.tensor([12.0, 3.0, 0.5, 0.02, 1e-3], requires_grad=True)
    missing, slope = _missing_odds(nats.detach(), 0.003)
    p, aim = (-nats.double()).exp(), torch.tensor(-0.003, dtype=torch.float64).exp()
    odds = (p / (1 - p)).log()
    expected = ((aim / (1 - aim)).log() - odds).clamp(min=0)
    (by_nats,) = torch.autograd.grad(odds.sum(), nats)
    assert torch.allclose(missing.double(), expected, atol=1e-4) and missing[-1] == 0
    assert torch.allclose(slope, -by_nats, rtol=1e-3)


def test_gauss_newton_reaches_a_low_loss_in_few_passes(trained_lm: LanguageModel) -> None:
    """Log-odds are nearly linear in the change, so the last nats cost few passes; all of `stop_loss` 0 are made."""
    lm = trained_lm
    contexts = [build_contexts(lm, r, PREFIXES) for r in facts()]
    where = Injection.at_site(lm.sites("mlp")[2])
    low, none = (
        optimise_values(lm, contexts, where, ValueSettings(clamp=50.0, kl=0.0, stop_loss=stop, steps=steps))
        for stop, steps in ((0.01, 20), (0.0, 5))
    )
    assert all(v.loss < 0.01 and v.steps <= 14 for v in low), [(v.loss, v.steps) for v in low]
    assert all(v.steps == 5 and v.loss < 1 for v in none)


def test_the_step_is_the_damped_least_norm_one() -> None:
    """Against the primal normal equations, requests of different numbers of contexts in one solve."""
    draw = torch.Generator().manual_seed(1)
    owner = torch.tensor([0, 2, 0, 2, 2, 0, 1, 0])
    gradient, residual = torch.randn(8, 5, generator=draw), torch.rand(8, generator=draw)
    result = _least_norm(gradient, residual, owner.numpy(), 3)
    for n in range(3):
        g, r = gradient[owner == n].double(), residual[owner == n].double()
        damping = 0.3 * (g @ g.T).diagonal().mean()
        primal = torch.linalg.solve(g.T @ g + damping * torch.eye(5, dtype=torch.float64), g.T @ r)
        assert torch.allclose(result[n].double(), primal, atol=1e-5)


def test_every_method_that_searches_takes_the_optimiser(trained_lm: LanguageModel) -> None:
    statistics = session_statistics(trained_lm)
    request = REQUESTS[0]
    norms = {}
    for optimiser in ("adam", "gauss_newton"):
        method = make_method("rome", optimiser=optimiser, short_prefixes=1, long_prefixes=0, steps=5)
        (delta,) = method.each(trained_lm, [request], statistics)
        norms[optimiser] = delta.relative_norm(trained_lm)
    assert norms["adam"] != pytest.approx(norms["gauss_newton"], rel=1e-3)


def test_an_unknown_optimiser_or_precision_is_refused() -> None:
    with pytest.raises(BadRequest, match="method rome: optimiser='sgd'; it must be one of adam, gauss_newton"):
        make_method("rome", optimiser="sgd")
    with pytest.raises(BadRequest, match="precision='float16'"):
        ValueSettings(precision="float16")
