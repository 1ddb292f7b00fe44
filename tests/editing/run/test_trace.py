"""Trace and TraceDict behave as documented, and as baukit's where that is installed."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import nn

import editing.run.trace as ours
from editing.run.trace import StopForward, Trace, TraceDict, recursive_copy


def network() -> nn.Sequential:
    draw = torch.Generator().manual_seed(0)
    net = nn.Sequential()
    for name in "abc":
        net.add_module(name, nn.Linear(4, 4))
        with torch.no_grad():
            net.get_submodule(name).weight.copy_(torch.randn(4, 4, generator=draw))
    return net


X = torch.arange(8.0).reshape(2, 4)


@pytest.fixture(params=["ours", "baukit"])
def nethook(request: pytest.FixtureRequest) -> ModuleType:
    """Every test that asks for this runs on our module and, where it can be imported, on the one it must resemble."""
    if request.param == "ours":
        return ours
    return pytest.importorskip("baukit.nethook", reason="baukit is not installed: parity is not checked")


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
