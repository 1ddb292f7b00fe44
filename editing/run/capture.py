"""Hooks that keep what a module reads or returns, and the hidden state in what a block returns."""

from __future__ import annotations

from editing.lazy import nn, torch
from editing.model import Hook, routing


def capture(path: str, side: str, store: dict[tuple[str, str], torch.Tensor], width: int) -> Hook:
    """A hook that keeps a module's "input" or "output" in `store[path, side]` as (B, T, .), also where OPT flattens it;
    of a module of routed experts also "routing", the router's weights.

    `width` is the number of columns T of the batch.
    """

    def hook(module: nn.Module, args: tuple, output: object) -> None:
        value = routing(module, args) if side == "routing" else args[0] if side == "input" else first(output)
        store[path, side] = value.reshape(-1, width, value.shape[-1]).detach()

    return path, hook


def first(output: object) -> torch.Tensor:
    """The hidden state of what a block returned: the tensor itself, or the first of a tuple."""
    return output[0] if isinstance(output, tuple) else output  # pyright: ignore[reportReturnType]


def with_first(output: object, value: torch.Tensor) -> object:
    """`output` with its hidden state replaced."""
    return (value, *output[1:]) if isinstance(output, tuple) else value
