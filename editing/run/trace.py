"""Reading and changing the output of a module during a forward pass.

`Trace` watches one module, `TraceDict` several. Signatures and behaviour are those of `Trace` and `TraceDict` in
baukit's nethook (David Bau), so that code written for it runs unchanged, with two differences: clone and detach
reach the tensors inside tuples and dicts, and leaving a `stop=True` block that never ran is not an error.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from types import TracebackType
from typing import Any, Self

from editing.lazy import nn, torch


class StopForward(Exception):
    """Raised behind a module traced with `stop=True`; swallowed when the `with` block is left."""


def recursive_copy(x: Any, clone: bool = False, detach: bool = False, retain_grad: bool = False) -> Any:
    """`x` itself, or its tensors (also inside dicts, lists and tuples) cloned, detached or with gradients retained.

    `retain_grad` wins over `detach`, which would cut the graph the gradient comes through.

    Raises:
        TypeError: something other than tensors and containers of them is to be copied.
    """
    if not (clone or detach or retain_grad):
        return x
    if isinstance(x, torch.Tensor):
        if retain_grad:
            if not x.requires_grad:
                x.requires_grad_(True)
            x.retain_grad()
        elif detach:
            x = x.detach()
        return x.clone() if clone else x
    if x is None:
        return None
    if isinstance(x, dict):
        return type(x)({k: recursive_copy(v, clone, detach, retain_grad) for k, v in x.items()})
    if isinstance(x, (list, tuple)):
        return type(x)([recursive_copy(v, clone, detach, retain_grad) for v in x])
    raise TypeError(f"{type(x).__name__} cannot be broken into tensors")


def _call(edit: Callable, output: Any, layer: str | None) -> Any:
    """`edit(output)` or `edit(output, layer)`: arguments named so go by name, the others in this order."""
    offered = {"output": output, "layer": layer}
    parameters = signature(edit).parameters.values()
    positional = [p for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    rest = [value for name, value in offered.items() if name not in {p.name for p in parameters}]
    args = []
    for parameter in positional:
        if parameter.name not in offered and not rest:
            break
        args.append(offered[parameter.name] if parameter.name in offered else rest.pop(0))
    keyword_only = [p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY and p.name in offered]
    return edit(*args, **{name: offered[name] for name in keyword_only})


class Trace:
    """Input and output of one module in the next forward passes.

    Args:
        module: the network, or the module itself when `layer` is None.
        layer: dotted path of the module inside `module`.
        retain_output, retain_input: keep `.output`, `.input` (the only argument, or the tuple of all).
        clone, detach: keep a copy, cut from the graph; `retain_grad` has `.output.grad` filled by backward().
        edit_output: output -> output, or (output, layer) -> output; the network continues with its result.
        stop: end the forward pass behind the module by `StopForward`.

    Raises:
        LookupError: no module of that name.
    """

    output: Any
    input: Any

    def __init__(
        self,
        module: nn.Module,
        layer: str | None = None,
        retain_output: bool = True,
        retain_input: bool = False,
        clone: bool = False,
        detach: bool = False,
        retain_grad: bool = False,
        edit_output: Callable | None = None,
        stop: bool = False,
    ) -> None:
        self.layer, self.stop = layer, stop
        if layer is not None:
            modules = dict(module.named_modules())
            if layer not in modules:
                raise LookupError(layer)
            module = modules[layer]

        def hook(_module: nn.Module, inputs: tuple, output: Any) -> Any:
            if retain_input:
                self.input = recursive_copy(inputs[0] if len(inputs) == 1 else inputs, clone, detach)
            if edit_output is not None:
                output = _call(edit_output, output, layer)
            if retain_output:
                self.output = recursive_copy(output, clone, detach, retain_grad)
                if retain_grad:  # the network goes on with a copy, so that it may change it in place
                    output = recursive_copy(self.output, clone=True)
            if stop:
                raise StopForward
            return output

        self.handle = module.register_forward_hook(hook)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.close()
        return self.stop and kind is not None and issubclass(kind, StopForward)

    def close(self) -> None:
        """Remove the hook; what was retained stays."""
        self.handle.remove()


class TraceDict(OrderedDict[str, Trace]):
    """Traces of several `layers`, by name; arguments as in `Trace`. `stop` ends the pass behind the last one listed."""

    def __init__(
        self, module: nn.Module, layers: Iterable[str] | None = None, *args: Any, stop: bool = False, **kwargs: Any
    ) -> None:
        super().__init__()
        self.stop = stop
        names = list(dict.fromkeys(layers or ()))
        try:
            for name in names:
                self[name] = Trace(module, name, *args, stop=stop and name == names[-1], **kwargs)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    __exit__ = Trace.__exit__

    def close(self) -> None:
        """Remove all hooks."""
        for trace in reversed(self.values()):
            trace.close()
