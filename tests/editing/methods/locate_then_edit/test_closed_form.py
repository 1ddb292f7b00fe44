"""R-ROME, MEMIT-Merge, EMMET, PMET, AlphaEdit and UltraEdit equal their slow references; what each formula promises
holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing.delta.changes import Dense, LowRank
from editing.delta.delta import Delta
from editing.errors import BadRequest
from editing.eval import continuation_logprobs, text_drift
from editing.methods import make_method
from editing.methods.locate_then_edit.alphaedit import _ridge_solution
from editing.methods.locate_then_edit.spread import Spread
from editing.methods.sequence import Step, apply_sequence
from editing.model.language_model import LanguageModel, hash_weights
from editing.solve.keys import states
from editing.stats.statistics import ModelStatistics
from editing.text.requests import EditRequest
from tests.editing import reference_methods as slow
from tests.editing.families import SOME
from tests.editing.worked import REQUESTS, distance, model, ridged, session_statistics
from tests.tiers import fast_are

SPREAD = {"depth": 0.6, "span": 0.5, "steps": 5, "prefixes": 2, "optimiser": "adam", "clamp": 0.75, "move_above": 0.0}
PAIR = (REQUESTS[0], REQUESTS[3])
# ROME and MEMIT are compared in every family of SOME (test_rome.py, test_memit.py). What these methods share with them
# is the same code, so each is compared in a few families, and all together in every one.
COMPARED = {
    "r_rome": ("gpt2", "gemma2", "falcon"),
    "memit_merge": ("gpt_neox", "gemma3_text"),
    "emmet": ("opt", "mistral"),
    "pmet": ("gpt2", "gemma2", "falcon", "phi"),  # it reads the attention too
    "alphaedit": ("llama", "bloom", "gemma2"),  # in Gemma 2 a norm stands behind the map
    "ultraedit": ("gpt2", "gemma2", "falcon", "opt"),
}
# Two more facts of the subject of PAIR[1], with the same text before the subject or with another.
SAME = (
    EditRequest("maker", ("{} is made by the",), "Cheese", ("dog",)),
    EditRequest("home", ("The dairy food {} comes from",), "Cheese", ("Spain",)),
)


def covariance(lm: LanguageModel, statistics: ModelStatistics, ridge: bool = True) -> dict[str, torch.Tensor]:
    raw = {s.path: statistics.covariance(s).matrix.double() for s in lm.sites("mlp")}
    return {s.path: ridged(statistics, s) for s in lm.sites("mlp")} if ridge else raw


def dense(delta: Delta, name: str) -> torch.Tensor:
    change = delta.factors[name]
    assert isinstance(change, LowRank | Dense)
    return change.dense()


def agree(delta: Delta, expected: dict[str, torch.Tensor], within: float = 1e-4) -> None:
    assert set(delta.weights) == set(expected)
    for name, change in expected.items():
        assert float(change.norm()) > 0
        assert distance(dense(delta, name), change) < within, name


@pytest.mark.parametrize("family", fast_are(["gemma2"], COMPARED["r_rome"]))
def test_r_rome(family: str) -> None:
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method(
        "r_rome", optimiser="adam", move_above=0.0, depth=0.5, steps=5, short_prefixes=2, long_prefixes=1
    )
    plain = make_method("rome", optimiser="adam", move_above=0.0, depth=0.5, steps=5, short_prefixes=2, long_prefixes=1)
    prefixes = statistics.prefixes({5: 2, 10: 1})
    c = covariance(lm, statistics)
    for request, delta, rome in zip(
        REQUESTS, method.each(lm, REQUESTS, statistics), plain.each(lm, REQUESTS, statistics), strict=True
    ):
        site = lm.sites("mlp")[method.placement(lm, request).layers[0]]
        agree(delta, {site.weight: slow.r_rome(lm, request, method, c[site.path], prefixes)})
        assert distance(dense(delta, site.weight), dense(rome, site.weight)) > 1e-3


@pytest.mark.parametrize("family", fast_are(["gpt_neox"], COMPARED["memit_merge"]))
def test_memit_merge(family: str) -> None:
    """Three facts of one subject and one of another are two pairs; single edits are MEMIT's."""
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("memit_merge", covariance_weight=5.0, **SPREAD)
    plain = make_method("memit", covariance_weight=5.0, **SPREAD)
    requests = [*PAIR, *SAME]
    joint = method(lm, requests, statistics)
    agree(joint, slow.memit_merge(lm, requests, method, covariance(lm, statistics), statistics.prefixes({10: 2})))
    assert {c.rank for c in joint.factors.values() if isinstance(c, LowRank)} == {2}
    for merged, single in zip(method.each(lm, SAME, statistics), plain.each(lm, SAME, statistics), strict=True):
        agree(merged, {n: dense(single, n) for n in single.weights})


def test_keys_at_the_last_token_are_not_merged() -> None:
    lm = model("llama")
    statistics = session_statistics(lm)
    method = make_method("memit_merge", lookup="last", **SPREAD)
    joint = method(lm, SAME, statistics)
    assert {c.rank for c in joint.factors.values() if isinstance(c, LowRank)} == {2}


@pytest.mark.parametrize("family", fast_are(["opt"], COMPARED["emmet"]))
def test_emmet(family: str) -> None:
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("emmet", **SPREAD)
    c, prefixes = covariance(lm, statistics), statistics.prefixes({10: 2})
    agree(method(lm, PAIR, statistics), slow.emmet(lm, PAIR, method, c, prefixes))
    for request, delta in zip(PAIR, method.each(lm, PAIR, statistics), strict=True):
        agree(delta, slow.emmet(lm, [request], method, c, prefixes))


@pytest.mark.parametrize("family", fast_are(["gpt2"], ["gpt2", "opt", "gemma2"]))
def test_emmet_without_slack_meets_its_constraint(family: str) -> None:
    """With bare prompts as the only contexts, the edited map gives the bare key exactly R more than before."""
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("emmet", depth=0.6, steps=5, prefixes=0, slack=0.0)
    delta = method(lm, PAIR, statistics)
    (name,) = delta.weights
    path = name.removesuffix(".weight")
    change = delta.factors[name]
    assert isinstance(change, LowRank)
    assert isinstance(method, Spread)
    units = method.contexts(lm, PAIR, statistics)
    keys = torch.stack([states(lm, u.prompts, [(path, "input")])[path, "input"].mean(0) for u in units], 1)
    assert distance(change.dense() @ keys, change.left) < 1e-4
    loose = make_method("emmet", depth=0.6, steps=5, prefixes=0, slack=10.0)(lm, PAIR, statistics)
    assert distance(dense(loose, name) @ keys, change.left) > 1e-2
    with pytest.raises(BadRequest, match="same key"):
        method(lm, [SAME[0], EditRequest("shop", ("{} is sold by the",), "Cheese", ("baker",))], statistics)


@pytest.mark.parametrize("family", fast_are(["gpt2"], COMPARED["pmet"]))
def test_pmet(family: str) -> None:
    """Within 1e-3: where the attention's gradient is near zero, Adam's first steps are the size of its rounding."""
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("pmet", covariance_weight=5.0, **SPREAD)
    c, prefixes = covariance(lm, statistics), statistics.prefixes({10: 2})
    chosen = REQUESTS[:3]
    agree(method(lm, chosen, statistics), slow.pmet(lm, chosen, method, c, prefixes), 1e-3)
    for request, delta in zip(chosen, method.each(lm, chosen, statistics), strict=True):
        agree(delta, slow.pmet(lm, [request], method, c, prefixes), 1e-3)
    published = make_method("pmet", preset="published", **{**SPREAD, "covariance_weight": 5.0})
    agree(published(lm, chosen, statistics), slow.pmet(lm, chosen, published, c, prefixes), 1e-3)
    with pytest.raises(BadRequest, match="site='attn'"):
        make_method("pmet", site="attn")


@pytest.mark.parametrize("family", fast_are(["gemma2"], COMPARED["alphaedit"]))
def test_alphaedit(family: str) -> None:
    """Single, joint, and the second link of a sequence, with the first one's keys."""
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("alphaedit", **SPREAD)
    c, prefixes = covariance(lm, statistics, ridge=False), statistics.prefixes({10: 2})
    agree(method(lm, PAIR, statistics), slow.alphaedit(lm, PAIR, method, c, prefixes)[0])
    first, memory = method.step(lm, PAIR[:1], statistics, None)
    expected, past = slow.alphaedit(lm, PAIR[:1], method, c, prefixes)
    agree(first, expected)
    with first.applied(lm):
        second, _ = method.step(lm, PAIR[1:], statistics, memory)
        agree(second, slow.alphaedit(lm, PAIR[1:], method, c, prefixes, past)[0])
        forgetful = method(lm, PAIR[1:], statistics)
    name = second.weights[-1]
    assert distance(dense(forgetful, name), dense(second, name)) > 1e-3


def test_alphaedit_in_absolute_units() -> None:
    """The paper's way to give the threshold and l2: the same edit when they are the relative ones times their units."""
    lm = model("gpt2")
    statistics = session_statistics(lm)
    settings = SPREAD | {"span": 0.0}
    relative = make_method("alphaedit", **settings)
    site = relative.edited_sites(lm, PAIR[0])[0]
    sizes = statistics.spectrum(site)[0]
    mean = float(sizes.mean())
    numbers = {"null_threshold": 0.5 * mean, "l2": 0.05 * float(sizes[sizes < 0.5 * mean].sum())}
    expected = relative(lm, PAIR, statistics)
    result = make_method("alphaedit", **settings, **numbers, units="absolute")(lm, PAIR, statistics)
    assert distance(dense(result, site.weight), dense(expected, site.weight)) < 1e-5
    null = result.provenance["null_space"][site.path]
    assert null["threshold"] == pytest.approx(0.5 * mean)
    with pytest.raises(BadRequest, match="units"):
        make_method("alphaedit", units="metres")


def test_alphaedit_leaves_preserved_keys_alone() -> None:
    """Keys within the used directions get the old output; and dW P = dW."""
    lm = model("gpt2")
    statistics = session_statistics(lm)
    delta = make_method("alphaedit", **SPREAD)(lm, PAIR, statistics)
    for site in (s for s in lm.sites("mlp") if s.weight in delta.weights):
        values, vectors = statistics.spectrum(site)
        used = vectors[:, values >= 0.5 * values.mean()]
        assert 0 < used.shape[1] < site.d_in
        change = dense(delta, site.weight).double()
        preserved = used @ torch.randn(used.shape[1], 20, generator=torch.Generator().manual_seed(0)).double()
        assert float((change @ preserved).norm() / (change.norm() * preserved.norm())) < 1e-6
        assert float((change - change @ (torch.eye(site.d_in) - used @ used.T)).norm() / change.norm()) < 1e-6
    with pytest.raises(BadRequest, match="null_threshold"):
        make_method("alphaedit", null_threshold=0.0)(lm, PAIR, statistics)


@pytest.mark.parametrize("family", fast_are(["falcon"], COMPARED["ultraedit"]))
def test_ultraedit(family: str) -> None:
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method("ultraedit", depth=0.6, span=0.5, warmup=4)
    expected, values = slow.ultraedit(lm, PAIR, method)
    first, memory = method.step(lm, PAIR, statistics)
    agree(first, expected)
    agree(method(lm, PAIR, statistics), expected)
    agree(method.step(lm, REQUESTS[1:2], statistics, memory)[0], slow.ultraedit(lm, REQUESTS[1:2], method, values)[0])
    for request, delta in zip(PAIR, method.each(lm, PAIR, statistics), strict=True):
        agree(delta, slow.ultraedit(lm, [request], method)[0])


def test_the_warm_up_of_ultraedit_is_made_once_and_edits_are_read_together(tmp_path: Path) -> None:
    lm, passes = model("gpt2"), []
    handle = lm.module.register_forward_pre_hook(lambda *_: passes.append(1))
    method, statistics = make_method("ultraedit", warmup=4), ModelStatistics(lm, tmp_path, "identity")
    counts = []
    for requests in (REQUESTS[:1], REQUESTS[:1], REQUESTS[:3]):
        passes.clear()
        deltas = method.each(lm, requests, statistics)
        counts.append(len(passes))
    handle.remove()
    assert counts[0] > counts[1] == counts[2] == 1 and len(deltas) == 3


@pytest.mark.parametrize("lookup", [None, "subject_last", "last"])
def test_ultraedit_makes_the_target_likelier(lookup: str | None, trained_lm: LanguageModel) -> None:
    statistics = session_statistics(trained_lm)
    method = make_method("ultraedit", depth=0.5, span=0.5, lookup=lookup)
    request = EditRequest("fact", ("The capital of {} is the city of",), "France", ("Madrid",))
    deltas = method.each(trained_lm, [request], statistics)
    plain = continuation_logprobs(trained_lm, request.filled(), [request.targets])[0][0]
    edited = continuation_logprobs(trained_lm, request.filled(), [request.targets], deltas, [0])[0][0]
    assert edited > plain + (0.1 if lookup != "subject_last" else 0.0)


def test_every_family_is_compared_for_a_method_that_optimises() -> None:
    assert {family for name, families in COMPARED.items() if name != "ultraedit" for family in families} == set(SOME)


def many(n: int) -> list[EditRequest]:
    places = ("France", "Spain", "Italy", "New Zealand", "Brie", "Gouda", "Zoe", "tea")
    targets = ("Rome", "Madrid", "bread", "the river", "dog")
    prompts = ("The capital of {} is the city of", "{} comes from", "{} is sold by the")
    return [EditRequest(str(i), (prompts[i % 3],), places[i % 8], (targets[i % 5],)) for i in range(n)]


@pytest.mark.parametrize("name", fast_are(["alphaedit"], ["memit", "alphaedit", "ultraedit", "rome"]))
def test_many_edits_pile_up_and_are_taken_back(name: str, tmp_path: Path) -> None:
    lm = model("gpt2")
    statistics = session_statistics(lm)
    small = {} if name == "ultraedit" else {"steps": 2}
    small |= {"rome": {"short_prefixes": 1, "long_prefixes": 0}, "ultraedit": {"warmup": 4, "rate": 0.05}}.get(
        name, {"prefixes": 1, "clamp": 0.2}
    )
    method = make_method(name, depth=0.5, **small)
    before = hash_weights(lm.module)
    drift, done = [], []
    text = ["The river runs through the old town."]

    def look(step: Step) -> None:
        done.append(step.done)
        if step.done % 12 == 0:
            edited = lm.module(input_ids=torch.tensor([lm.encode(text[0])])).logits
            so_far = step.so_far()
            with step.unedited() as plain:
                assert hash_weights(plain.module) == before
                drift.append(float(text_drift(plain, text, [so_far])[0][0, 0]))
                with so_far.applied(plain):
                    again = lm.module(input_ids=torch.tensor([lm.encode(text[0])])).logits
            assert torch.allclose(edited, again, atol=1e-4 * float(edited.abs().max()))

    whole = apply_sequence(lm, method, many(36), statistics, batch=2, on_step=look)
    assert hash_weights(lm.module) == before
    assert done == list(range(2, 37, 2)) and len(drift) == 3 and min(drift) > 0
    assert all(isinstance(c, Dense) for c in whole.factors.values())  # rank 36 of 32
    assert whole.provenance["mode"] == "sequential" and len(whole.provenance["requests"]) == 36
    saved = Delta.load(whole.save(tmp_path / "delta"))
    with saved.applied(lm):
        assert hash_weights(lm.module) != before
    assert hash_weights(lm.module) == before


def test_a_sequence_is_its_steps_one_after_another() -> None:
    """Against the plain way: apply each delta to the weights before the next is computed."""
    lm = model("llama")
    statistics = session_statistics(lm)
    method = make_method("alphaedit", depth=0.5, steps=3, prefixes=1)
    requests = many(4)
    whole = apply_sequence(lm, method, requests, statistics)
    saved = {n: lm.weight(n).detach().clone() for n in whole.weights}
    memory, total = None, {n: torch.zeros_like(dense(whole, n)) for n in whole.weights}
    for request in requests:
        delta, memory = method.step(lm, [request], statistics, memory)
        for name in delta.weights:
            total[name] += dense(delta, name)
            lm.weight(name).copy_(saved[name] + total[name])
    for name, old in saved.items():
        lm.weight(name).copy_(old)
        assert isinstance(whole.factors[name], LowRank)
        assert distance(dense(whole, name), total[name]) < 1e-5


def test_an_error_in_a_sequence_gives_the_model_back() -> None:
    lm = model("gpt2")
    statistics = session_statistics(lm)
    method = make_method("memit", depth=0.5, steps=2, prefixes=1)
    before = hash_weights(lm.module)

    def fail(step: Step) -> None:
        assert hash_weights(lm.module) != before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_sequence(lm, method, many(3), statistics, on_step=fail)
    assert hash_weights(lm.module) == before
    with pytest.raises(BadRequest, match="batches of 0"):
        apply_sequence(lm, method, many(3), statistics, batch=0)


@pytest.mark.parametrize("past", [0, 3, 40])
def test_alphaedit_solves_in_the_smaller_size(past: int) -> None:
    """Fewer edits than directions, and more: the same solution as by the normal equations."""
    draw = torch.Generator().manual_seed(past)
    earlier = torch.randn(30, past, generator=draw, dtype=torch.float64)
    keys = torch.randn(30, 4, generator=draw, dtype=torch.float64)
    gram = earlier @ earlier.T + keys @ keys.T + 0.3 * torch.eye(30, dtype=torch.float64)
    assert torch.allclose(_ridge_solution(earlier, keys, 0.3), torch.linalg.solve(gram, keys), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("past", [0, 3, 40])
def test_alphaedit_without_l2_is_its_limit(past: int) -> None:
    """Fewer edits than directions: exact, what was edited before untouched, also where two requests have one key."""
    draw = torch.Generator().manual_seed(past)
    earlier = torch.randn(30, past, generator=draw, dtype=torch.float64)
    keys = torch.randn(30, 3, generator=draw, dtype=torch.float64)
    exact, near = (_ridge_solution(earlier, keys, l2) for l2 in (0.0, 1e-9))
    assert distance(exact, near) < 1e-5
    if past < 30:
        assert torch.allclose(keys.T @ exact, torch.eye(3, dtype=torch.float64), atol=1e-9)
        assert float((earlier.T @ exact).abs().sum()) < 1e-9
    twice = _ridge_solution(earlier, keys[:, [0, 1, 1]], 0.0)
    assert float(twice.norm()) < 2 * float(exact.norm())
