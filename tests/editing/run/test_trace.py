"""Trace and TraceDict behave as documented, and as baukit's own, where BAUKIT_HOME names a checkout of
https://github.com/davidbau/baukit or the package is installed; those tests are slow ones."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import editing.run.trace as ours
from editing.methods import make_method
from editing.run.trace import StopForward, Trace, TraceDict, recursive_copy
from editing.stats.statistics import ModelStatistics
from tests.editing.families import tiny_lm
from tests.editing.worked import LIGHT, REQUESTS


def network() -> nn.Sequential:
    draw = torch.Generator().manual_seed(0)
    net = nn.Sequential()
    for name in "abc":
        net.add_module(name, nn.Linear(4, 4))
        with torch.no_grad():
            net.get_submodule(name).weight.copy_(torch.randn(4, 4, generator=draw))
    return net


X = torch.arange(8.0).reshape(2, 4)


def baukit() -> ModuleType:
    """baukit's nethook, read from the checkout without the package's other modules, which need more than torch."""
    home = os.environ.get("BAUKIT_HOME")
    if not home:
        reason = "BAUKIT_HOME names no checkout and baukit is not installed: parity is not checked"
        return pytest.importorskip("baukit.nethook", reason=reason)
    spec = importlib.util.spec_from_file_location("baukit_nethook", Path(home, "baukit", "nethook.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["ours", pytest.param("baukit", marks=pytest.mark.slow)])
def nethook(request: pytest.FixtureRequest) -> ModuleType:
    """Every test that requests this runs on our module and, where there is one, on the one it must resemble."""
    return ours if request.param == "ours" else baukit()


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) for m in net.modules())


def test_output_and_input_are_kept(nethook: ModuleType) -> None:
    net = network()
    with nethook.Trace(net, "b", retain_input=True) as trace:
        net(X)
    assert torch.equal(trace.input, net.a(X)) and torch.equal(trace.output, net.b(net.a(X)))
    assert trace.output.requires_grad and hooks(net) == 0


def test_a_module_can_be_given_itself(nethook: ModuleType) -> None:
    net = network()
    with nethook.Trace(net.c) as trace:
        out = net(X)
    assert trace.output is out and trace.layer is None


def test_nothing_is_kept_unasked(nethook: ModuleType) -> None:
    net = network()
    with nethook.Trace(net, "b", retain_output=False) as trace:
        net(X)
    assert not hasattr(trace, "output") and not hasattr(trace, "input")


def test_stop_ends_the_pass(nethook: ModuleType) -> None:
    net, ran = network(), []
    net.c.register_forward_hook(lambda *_: ran.append(1))
    with nethook.Trace(net, "b", stop=True) as trace:
        net(X)
        ran.append(2)
    assert ran == [] and trace.output.shape == (2, 4)


def test_other_errors_pass_through(nethook: ModuleType) -> None:
    net = network()
    with pytest.raises(ZeroDivisionError), nethook.Trace(net, "b", stop=True):
        raise ZeroDivisionError
    with pytest.raises(nethook.StopForward), nethook.Trace(net, "b"):
        raise nethook.StopForward
    assert hooks(net) == 0


@pytest.mark.parametrize("edit", [
    lambda output: output + 1,
    lambda x: x + 1,
    lambda output, layer: output + len(layer),
    lambda layer, output: output + len(layer),
    lambda x, name: x + len(name),
], ids=["output", "x", "output,layer", "layer,output", "x,name"])  # fmt: skip
def test_edit_output_with_one_or_two_arguments(nethook: ModuleType, edit) -> None:
    net = network()
    with nethook.Trace(net, "b", edit_output=edit) as trace:
        out = net(X)
    changed = net.b(net.a(X)) + 1
    assert torch.equal(trace.output, changed) and torch.equal(out, net.c(changed))


def test_clone_and_detach(nethook: ModuleType) -> None:
    net = network()
    with nethook.Trace(net, "c", clone=True, detach=True) as trace:
        out = net(X)
    assert not trace.output.requires_grad
    kept = trace.output.clone()
    with torch.no_grad():
        out.zero_()
    assert torch.equal(trace.output, kept)


def test_retained_gradient(nethook: ModuleType) -> None:
    net = network().requires_grad_(False)
    with nethook.Trace(net, "b", retain_grad=True) as trace:
        net(X).sum().backward()
    assert torch.allclose(trace.output.grad, net.c.weight.sum(0).expand(2, 4))


def test_trace_dict(nethook: ModuleType) -> None:
    net, ran = network(), []
    net.c.register_forward_hook(lambda *_: ran.append(1))
    edit = lambda output, layer: output * 2 if layer == "a" else output  # noqa: E731
    with nethook.TraceDict(net, ["a", "b", "a"], edit_output=edit, stop=True) as traces:
        net(X)
    assert list(traces) == ["a", "b"] and ran == []
    assert torch.equal(traces["a"].output, 2 * net.a(X)) and torch.equal(traces["b"].output, net.b(2 * net.a(X)))
    traces.close()
    assert sum(len(m._forward_hooks) for m in (net.a, net.b)) == 0


def test_unknown_layers_are_an_error(nethook: ModuleType) -> None:
    with pytest.raises(LookupError, match="nowhere"):
        nethook.Trace(network(), "nowhere")


def test_an_unknown_layer_leaves_no_hook_behind() -> None:
    net = network()
    with pytest.raises(LookupError):
        TraceDict(net, ["a", "nowhere"])
    assert hooks(net) == 0


def test_a_stop_that_never_ran_is_no_error() -> None:
    with Trace(network(), "b", stop=True) as trace:
        pass
    assert not hasattr(trace, "output") and issubclass(StopForward, Exception)


def test_copies_reach_into_containers() -> None:
    deep = {"a": (X.clone().requires_grad_(), [X.clone().requires_grad_(), None])}
    copied = recursive_copy(deep, clone=True, detach=True)
    assert type(copied["a"]) is tuple and copied["a"][1][1] is None
    for old, new in ((deep["a"][0], copied["a"][0]), (deep["a"][1][0], copied["a"][1][0])):
        assert torch.equal(old, new) and old.data_ptr() != new.data_ptr() and not new.requires_grad
    assert recursive_copy(deep) is deep
    with pytest.raises(TypeError):
        recursive_copy("text", clone=True)


def test_edits_of_a_model_that_is_being_traced(nethook: ModuleType, tmp_path: Path) -> None:
    """Open traces neither change an edit nor are disturbed by it, and they read the edited weights."""
    lm = tiny_lm("gpt2", spread=0.05)
    method = make_method("rome", depth=0.5, **LIGHT)
    statistics = ModelStatistics(lm, tmp_path, "identity")
    (alone,) = method.each(lm, REQUESTS[:1], statistics)
    ids = torch.tensor([lm.encode("The capital of France is")])
    (site,) = method.edited_sites(lm, REQUESTS[0])
    with nethook.TraceDict(lm.module, [*lm.layout.blocks, site.path], retain_input=True) as traces:
        (delta,) = method.each(lm, REQUESTS[:1], statistics)
        with delta.applied(lm), torch.no_grad():
            after = lm.module(ids).logits
            inputs, output = traces[site.path].input.clone(), traces[site.path].output.clone()
        before = lm.module(ids).logits
    assert delta.factors.keys() == alone.factors.keys() == {site.weight}
    assert torch.equal(delta.factors[site.weight].dense(), alone.factors[site.weight].dense())
    weight = lm.module.get_submodule(site.path).weight.detach().T + alone.factors[site.weight].dense()
    bias = lm.module.get_submodule(site.path).bias.detach()
    torch.testing.assert_close(output, inputs @ weight.T + bias, rtol=1e-4, atol=1e-5)
    assert not torch.equal(before, after) and hooks(lm.module) == 0


def test_an_edit_through_a_trace_is_the_edit_in_the_weights(nethook: ModuleType, tmp_path: Path) -> None:
    """What baukit's users write, an output changed by `edit_output`, gives the logits of the applied delta."""
    lm = tiny_lm("gpt2", spread=0.05)
    method = make_method("rome", depth=0.5, **LIGHT)
    (delta,) = method.each(lm, REQUESTS[:1], ModelStatistics(lm, tmp_path, "identity"))
    ids = torch.tensor([lm.encode("The capital of France is")])
    (site,) = method.edited_sites(lm, REQUESTS[0])
    change = delta.factors[site.weight].dense()
    with torch.no_grad():
        with delta.applied(lm):
            applied = lm.module(ids).logits
        with nethook.Trace(lm.module, site.path, retain_output=False, retain_input=True) as key:
            lm.module(ids)
        with nethook.Trace(lm.module, site.path, edit_output=lambda output: output + key.input @ change.T):
            hooked = lm.module(ids).logits
    torch.testing.assert_close(hooked, applied, rtol=1e-4, atol=1e-5)
