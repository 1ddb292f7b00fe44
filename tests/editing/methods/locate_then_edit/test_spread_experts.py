"""MEMIT and its descendants at routed experts equal a literal loop over blocks and experts, in which each request is
carried by one expert of a block and the weights are really changed between blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from editing.delta import Dense, LowRank
from editing.delta.delta import Delta
from editing.errors import BadRequest, Unreachable
from editing.eval import continuation_logprobs
from editing.methods import apply_sequence, make_method, method_names, taken_by
from editing.model import LanguageModel, hash_weights
from editing.solve import routes, states
from editing.stats.statistics import ModelStatistics
from editing.text import EditRequest, build_contexts
from tests.editing import reference, reference_methods
from tests.editing.families import tiny_lm, trained_lm
from tests.editing.reference_experts import Solve, covariance, reaching, spread, written_out
from tests.editing.worked import LIGHT, REQUESTS, assert_equal, distance, session_statistics
from tests.tiers import fast_are

FAMILIES = ("mixtral", "qwen3_moe", "olmoe", "gpt_oss")
LAYERS = (1, 2)
SETTINGS = {"site": "expert", "depth": 0.6, "span": 0.5, "steps": 5, "prefixes": 3} | LIGHT
THREE = (REQUESTS[0], REQUESTS[2], REQUESTS[3])
OWN = {"memit": {"covariance_weight": 2.0}, "emmet": {"slack": 0.1}, "alphaedit": {}, "pmet": {}, "memit_merge": {}}

Changes = dict[tuple[int, int], torch.Tensor]


class Literal:
    """The methods, step by step, on a model written out; covariances are read of a copy that no step changes."""

    def __init__(self, lm: LanguageModel, family: str, statistics: ModelStatistics) -> None:
        self.lm, self.statistics = lm, statistics
        self.loop, self.unedited = written_out(lm, family), written_out(lm, family)
        self.prefixes = statistics.prefixes({10: 3})
        self.c: Changes = {}

    def matrix(self, layer: int, expert: int, ridge: bool = True) -> torch.Tensor:
        if (layer, expert) not in self.c:
            self.c[layer, expert] = covariance(self.unedited, self.statistics.sequences(), expert, layer)[0]
        c = self.c[layer, expert]
        return c + ridge * self.statistics.ridge * c.diagonal().mean() * torch.eye(len(c), dtype=torch.float64)

    def solve(self, method: Any) -> Solve:
        def memit(layer: int, expert: int, r: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            weight = method.covariance_weight * len(k)
            return r @ k.T @ torch.inverse(weight * self.matrix(layer, expert) + k @ k.T)

        def emmet(layer: int, expert: int, r: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            inverse = torch.inverse(self.matrix(layer, expert))
            slack = method.slack * len(k) * torch.eye(k.shape[1])
            return r @ torch.inverse(k.T @ inverse @ k + slack) @ k.T @ inverse

        def alphaedit(layer: int, expert: int, r: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            c = self.matrix(layer, expert, ridge=False)
            p = reference_methods.projector(c, method)
            l2 = method.l2 * (c @ p).trace() * torch.eye(len(k), dtype=torch.float64)
            return r @ k.T @ p @ torch.inverse(k @ k.T @ p + l2)

        return {"emmet": emmet, "alphaedit": alphaedit}.get(method.name, memit)

    def __call__(self, method: Any, requests: Sequence[EditRequest]) -> Changes:
        """The joint edit of all requests."""
        contexts = reaching(self.loop, requests, self.prefixes, LAYERS[-1])
        goal, share = self.loop.layout.blocks[LAYERS[-1]], float
        experts = f"model.layers.{LAYERS[-1]}.mlp.experts"
        if method.name == "pmet":
            goal = experts
            share = reference_methods.pmet_share(method, len(LAYERS))
            attention, same = self.lm.site("attn", LAYERS[-1]).path, zip(requests, contexts, strict=True)
            targets = [reference_methods._joint(self.lm, r, t, method, goal, attention) for r, t in same]
        else:
            optimised = [
                reference.optimise(
                    self.loop, r, t, r.lookup, goal, None, method, reference.length_of(self.lm, t, experts, method)
                )
                for r, t in zip(requests, contexts, strict=True)
            ]
            targets = [one.v0 + one.delta for one in optimised]
        return spread(self.loop, contexts, targets, goal, LAYERS, share, self.solve(method))

    def assert_same(self, delta: Delta, changes: Changes) -> None:
        sites = {self.lm.expert_site(*place).weight: place for place in changes}
        assert set(delta.weights) == set(sites)
        for name, place in sites.items():
            assert_equal(dense(delta, name), changes[place], self.matrix(*place))


def dense(delta: Delta, name: str) -> torch.Tensor:
    change = delta.factors[name]
    assert isinstance(change, LowRank | Dense)
    return change.dense()


@pytest.fixture(scope="module", params=fast_are(["qwen3_moe"], FAMILIES))
def literal(request: pytest.FixtureRequest) -> Literal:
    lm = tiny_lm(request.param, spread=0.1)
    return Literal(lm, request.param, session_statistics(lm))


@pytest.mark.parametrize("name", fast_are(["memit", "emmet"], OWN))
def test_edits_equal_the_literal_loop(literal: Literal, name: str) -> None:
    """One request by itself, and three together, of which two are sent to one expert."""
    method = make_method(name, **SETTINGS | OWN[name])
    before = hash_weights(literal.lm.module)
    single = method.each(literal.lm, THREE[1:2], literal.statistics)
    joint = method(literal.lm, THREE, literal.statistics)
    assert hash_weights(literal.lm.module) == before
    literal.assert_same(single[0], literal(method, THREE[1:2]))
    literal.assert_same(joint, literal(method, THREE))
    for own, request in zip(joint.provenance["experts"], LAYERS, strict=True):
        assert {one["block"] for one in own} == {request} and len(own) == len(THREE)


def test_requests_share_experts_that_carry_one_of_them(literal: Literal) -> None:
    """Else the test above says nothing of keys that are to be left as they are."""
    contexts = [build_contexts(literal.lm, r, literal.prefixes) for r in THREE]
    shared = 0
    for layer in LAYERS:
        chosen = routes(literal.lm, layer, contexts, "auto")
        carriers = {route.index for route in chosen}
        shared += sum(any(route.sent_to(i)[:1]) for route in chosen for i in carriers - {route.index})
    assert shared


def test_what_an_expert_carries_reaches_the_state_that_was_searched() -> None:
    """One block and the equality constraint: behind the block every request has its z, though each of its experts has
    a share of the router's weight only."""
    lm = tiny_lm("mixtral", spread=0.1)
    settings = SETTINGS | {"span": 0.0, "prefixes": 0}
    method: Any = make_method("emmet", **settings | {"slack": 0.0})
    delta = method(lm, REQUESTS[:2], session_statistics(lm))
    block = lm.layout.blocks[LAYERS[-1]]
    for request in REQUESTS[:2]:
        texts = reference.texts_of(lm, request, (), request.lookup)
        length = reference.length_of(lm, texts, lm.experts[LAYERS[-1]], method)
        optimised = reference.optimise(lm, request, texts, request.lookup, block, None, method, length)
        with delta.applied(lm):
            reached = reference.read(lm, texts, block, "output").mean(0)
        goal = optimised.v0 + optimised.delta
        assert float((reached - goal).norm()) < 1e-3 * float(optimised.delta.norm())


def test_alphaedit_keeps_what_earlier_edits_of_a_sequence_changed() -> None:
    """Its memory has the keys of each expert; an edit made again is written no second time."""
    lm = tiny_lm("mixtral", spread=0.1)
    statistics, method = session_statistics(lm), make_method("alphaedit", **SETTINGS)
    whole = apply_sequence(lm, method, THREE, statistics)
    first, memory = method.step(lm, THREE[:1], statistics)
    assert set(memory) == {name.removesuffix(".weight") for name in first.weights}
    assert set(first.provenance["null_space"]) == set(memory)
    assert set(first.weights) <= set(whole.weights)
    again, _ = method.step(lm, THREE[:1], statistics, memory)
    fresh, _ = method.step(lm, THREE[:1], statistics)
    name = first.weights[0]
    assert distance(dense(fresh, name), dense(first, name)) < 1e-5
    assert float(dense(again, name).norm()) < 0.9 * float(dense(first, name).norm())


@pytest.mark.parametrize("name", ["memit", "memit_iterative", "pmet"])
def test_the_edit_makes_its_fact(name: str) -> None:
    lm = trained_lm("mixtral")
    request = dataclasses.replace(REQUESTS[0], lookup="last")
    other = dataclasses.replace(REQUESTS[3], lookup="last", prompts=("{} is sold by the",), targets=("baker",))
    method = make_method(name, site="expert", depth=0.5, span=0.5, prefixes=2)
    joint = method(lm, [request, other], session_statistics(lm))
    for one, target, usual in ((request, "Madrid", "Wellington"), (other, "baker", "cheesemonger")):
        ((new, old),) = continuation_logprobs(lm, one.filled(), [[target, usual]], [joint])
        assert new > old


def test_norm_anchor_keeps_the_length_of_what_each_expert_puts_out() -> None:
    """Of a joint edit: at the requests that are sent to an expert, and no others."""
    lm = tiny_lm("mixtral", spread=0.1)
    settings = '{"steps": 3, "prefixes": 0, "optimiser": "adam", "move_above": 0.0, "slack": 0.0}'
    method = make_method("norm_anchor", inner="emmet", site="expert", depth=0.5, options=settings)
    delta = method(lm, THREE[::2], session_statistics(lm))
    found = routes(lm, LAYERS[-1], [build_contexts(lm, r, ()) for r in THREE[::2]], "auto")
    lengths = []
    for name in delta.weights:
        path = name.removesuffix(".weight")
        for route in found:
            sent = route.sent_to(int(path.split(".")[-2]))
            prompts = [p for p, yes in zip(route.request.prompts, sent, strict=True) if yes]
            if prompts:
                state = states(lm, prompts, [(path, "input"), (path, "output")])
                key, old = (state[path, side].mean(0) for side in ("input", "output"))
                lengths.append(float((old + dense(delta, name) @ key).norm() / old.norm()))
    assert len(lengths) >= 2 and lengths == pytest.approx([1.0] * len(lengths), rel=1e-3)


def test_what_cannot_be_edited_is_refused_in_one_line() -> None:
    lm = tiny_lm("mixtral", spread=0.1)
    statistics = session_statistics(lm)
    (route,) = routes(lm, LAYERS[-1], [build_contexts(lm, REQUESTS[0], ())], "auto")
    index = next(i for i in range(4) if not route.sent_to(i)[0])
    with pytest.raises(Unreachable, match=rf"block 2 sends its prompt to experts .*, not to {index}; use one of"):
        make_method("memit", expert=index, **SETTINGS | {"span": 0.0}).each(lm, REQUESTS[:1], statistics)
    behind = tiny_lm("flex_olmo", num_experts=4, num_experts_per_tok=2)
    with pytest.raises(BadRequest, match="in tiny-flex_olmo a norm stands between the experts and the residual stream"):
        make_method("memit", **SETTINGS).each(behind, REQUESTS[:1], session_statistics(behind))
    takes = []
    for name in method_names():
        try:
            make_method(name, site="expert", **taken_by(name, {"inner": "rome"}))
        except BadRequest as error:
            text = str(error)
            assert "\n" not in text and "; use a locate-then-edit method (rome, memit) for experts, or" in text, name
        else:
            takes.append(name)
    wrappers = ["norm_anchor", "placebo", "random_layer", "random_site", "rect", "sphere"]
    methods = ["alphaedit", "emmet", "memit", "memit_iterative", "memit_merge", "pmet", "r_rome", "rome"]
    assert takes == sorted(wrappers + methods)
