"""Routed experts: the down-projection of each as a linear map y = W k of its own.

transformers keeps the experts of a block in one module whose parameters have the expert as first dimension, and runs
them by one of several kernels that show no expert's input. So an expert has a path of its own here, as in checkpoints
("model.layers.2.mlp.experts.5.down_proj", a slice of the parameter "model.layers.2.mlp.experts.down_proj"), and a hook
on that path leaves the kernel as it is: k and y are computed once more from what entered the module, for every token,
and what the hook changes in y is added to the module's output, times the router's weight. The weight is 0 at tokens
that are sent to other experts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from editing.errors import BadModel
from editing.lazy import nn, torch

PATH = re.compile(r"(.+)\.(\d+)\.down_proj")


@dataclass(frozen=True, eq=False)
class Expert:
    """Expert `index` of the `module` that holds the experts of a block."""

    module: Any
    index: int

    @property
    def weight(self) -> torch.Tensor:
        """W as it is stored: a view, so that what is written into it is written into the model."""
        return self.module.down_proj.detach()[self.index]

    @property
    def shape(self) -> tuple[int, int, bool]:
        """(d_in, d_out, stored transposed), as `linear_shape`."""
        first, second = self.module.down_proj.shape[1:]
        return (first, second, True) if self.module.is_transposed else (second, first, False)

    def key(self, hidden: torch.Tensor) -> torch.Tensor:
        """(N, d_in) k of the states (N, width) that enter the module."""
        up = self._times("gate_up_proj" if self.module.has_gate else "up_proj", hidden)
        return self.module._apply_gate(up) if self.module.has_gate else self.module.act_fn(up)

    def output(self, key: torch.Tensor) -> torch.Tensor:
        """(N, d_out) y, before the router's weight."""
        return self._times("down_proj", key)

    def _times(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight = getattr(self.module, name)[self.index]
        y = x @ (weight if self.module.is_transposed else weight.T)
        return y + getattr(self.module, f"{name}_bias")[self.index] if self.module.has_bias else y

    def hook(self, hooks: Sequence[Callable]) -> Any:
        """The handle of forward `hooks` of this map, which get (k, router's weight (N, 1)) as their arguments.

        Raises:
            BadModel: the weights are offloaded: they are not there any more when the module has run.
        """
        if self.module.down_proj.is_meta:
            raise BadModel("routed experts that are offloaded cannot be edited; load the model whole")

        def add(module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor | None:
            hidden = args[0].reshape(-1, args[0].shape[-1])
            weight = routing(module, args)[:, self.index, None]
            key = self.key(hidden)
            plain = changed = self.output(key)
            for one in hooks:
                result = one(self, (key, weight), changed)
                changed = changed if result is None else result
            if changed is plain:
                return None
            return output + (weight * (changed - plain)).to(output.dtype).reshape(output.shape)

        return self.module.register_forward_hook(add)


def routing(module: Any, args: tuple) -> torch.Tensor:
    """(N, experts) the router's weights at N tokens, by the arguments of an experts' module; 0 where not sent to."""
    _, index, weights = args
    index, weights = index.reshape(-1, index.shape[-1]), weights.reshape(-1, weights.shape[-1])
    return weights.new_zeros(len(weights), len(module.down_proj)).scatter(1, index, weights)


def holder_and_index(path: str) -> tuple[str, int]:
    """Of the path of an expert: that of the module which holds the experts of its block, and its index there.

    Raises:
        ValueError: the path has another form.
    """
    match = PATH.fullmatch(path)
    if match is None:
        raise ValueError(f"{path} is no path of an expert")
    return match[1], int(match[2])


def expert_at(model: nn.Module, path: str) -> Expert | None:
    """The expert whose down-projection has this path; None where it is another module's.

    Raises:
        BadModel: the module has fewer experts.
    """
    if not PATH.fullmatch(path):
        return None
    holder, index = holder_and_index(path)
    try:
        module: Any = model.get_submodule(holder)
    except AttributeError:
        return None
    if not holds_experts(module):
        return None
    if index >= len(module.down_proj):
        raise BadModel(f"{path}: {holder} has {len(module.down_proj)} experts; this delta is for another model")
    return Expert(module, index)


def submodule(model: nn.Module, path: str) -> Any:
    """The module at `path`, or the expert."""
    return expert_at(model, path) or model.get_submodule(path)


def parameter(model: nn.Module, name: str) -> torch.Tensor:
    """The parameter called `name`; of an expert, the slice that is its own."""
    expert = expert_at(model, name.removesuffix(".weight"))
    return model.get_parameter(name) if expert is None else expert.weight


def holds_experts(module: Any) -> bool:
    """Whether a module looks like the experts of transformers 5 (`use_experts_implementation`)."""
    down = getattr(module, "down_proj", None)
    known = all(hasattr(module, name) for name in ("is_transposed", "has_bias", "has_gate", "_apply_gate"))
    return known and isinstance(down, nn.Parameter) and down.ndim == 3
