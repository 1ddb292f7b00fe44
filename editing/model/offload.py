"""Weights kept away from where the model runs: models that accelerate has spread over devices or offloaded.

accelerate replaces `module.forward` of an instance; its `AlignDevicesHook` (`module._hf_hook`) brings the weights in
and puts empty "meta" parameters back afterwards. The true bytes stand in the hook's `weights_map`, where this module
reads them. Read off the modules themselves: accelerate is needed to make such a model, not to edit one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from editing.errors import BadModel
from editing.lazy import nn, torch


def hooks_of(module: nn.Module) -> Iterator[Any]:
    """accelerate's hooks on this very module."""
    hook = getattr(module, "_hf_hook", None)
    yield from getattr(hook, "hooks", [] if hook is None else [hook])


def is_dispatched(model: nn.Module) -> bool:
    """Whether accelerate runs this model: over several devices, offloaded, or both."""
    return any(True for module in model.modules() for _ in hooks_of(module))


def is_offloaded(model: nn.Module) -> bool:
    """Whether some weights are brought in for each call only, so that a change of them in place would be lost."""
    return any(getattr(hook, "offload", False) for module in model.modules() for hook in hooks_of(module))


def device_of(module: nn.Module) -> torch.device | None:
    """Where this module computes; None where it has no weights, or hooks above it decide."""
    for inner in module.modules():
        for parameter in inner.parameters(recurse=False):
            if not parameter.is_meta:
                return parameter.device
            for hook in hooks_of(inner):
                if getattr(hook, "execution_device", None) is not None:
                    return _device(hook.execution_device)
    return None


def _device(named: Any) -> torch.device:
    return torch.device("cuda", named) if isinstance(named, int) else torch.device(named)


def true_tensor(model: nn.Module, name: str) -> torch.Tensor:
    """The parameter or buffer called `name`; where it is offloaded, the tensor of its values from the offload map.

    Raises:
        BadModel: it is empty (meta) and no hook of accelerate knows its values.
    """
    path, _, last = name.rpartition(".")
    tensor = getattr(model.get_submodule(path), last)
    if not tensor.is_meta:
        return tensor
    parts = name.split(".")
    for depth in range(len(parts) - 1, -1, -1):  # the module's own hook, or one above it that places whole subtrees
        key = ".".join(parts[depth:])
        for hook in hooks_of(model.get_submodule(".".join(parts[:depth]))):
            known = getattr(hook, "weights_map", None)
            try:
                if known is not None and known[key] is not None:
                    return known[key]
            except KeyError:
                continue
    raise BadModel(
        f"weight {name} is empty (meta) and no offload hook holds its values; load the model with its weights"
    )


def other_names(model: nn.Module) -> dict[str, str]:
    """Second names of tied weights -> the first; offloading replaces the one tensor by an empty one per name."""
    return {n: first for n, first in getattr(model, "all_tied_weights_keys", {}).items() if _empty(model, n)}


def _empty(model: nn.Module, name: str) -> bool:
    try:
        return model.get_parameter(name).is_meta
    except AttributeError:
        return False


def paths_of_weight(model: nn.Module, name: str) -> list[str]:
    """Paths of the modules whose `weight` is the parameter `name`: one, or an embedding and its tied head."""
    weight = model.get_parameter(name)
    paths = [p for p, m in model.named_modules() if getattr(m, "weight", None) is weight]
    second = other_names(model)
    first = second.get(name, name)
    same = {first, *(n for n, own in second.items() if own == first)}
    more = [p for p, _ in model.named_modules() if f"{p}.weight" in same]
    return [p for p, _ in model.named_modules() if p in {*paths, *more}]
