"""What stands left of a batch in models whose blocks hold more than keys and values (state spaces, linear attention).

Such a state cannot be selected, cut or shared between texts as keys and values can, so what stands left is read again
with every batch: from the embedding, or from the hidden states that entered a block when it was first read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from editing.delta import ChangeHook
from editing.lazy import nn, torch
from editing.model import Hook, entering, own_cache


@dataclass(frozen=True)
class Reread:
    """Left-padded beginnings of a batch.

    Attributes:
        ids, mask: (B, P).
        entering: per block, the state (B, P, d_model) that entered it; None where it was not kept. Empty where runs
            begin with the embedding.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    entering: tuple[torch.Tensor | None, ...] = ()

    @property
    def positions(self) -> torch.Tensor:
        """(B, P) long: real tokens counted from 0."""
        return (self.mask.cumsum(1) - 1).clamp(min=0)

    def select(self, rows: torch.Tensor) -> Reread:
        """Rows of the batch, in any order and number."""
        entering = tuple(None if t is None else t.index_select(0, rows.to(t.device)) for t in self.entering)
        return Reread(self.ids.index_select(0, rows), self.mask.index_select(0, rows), entering)

    def above(self, start: int) -> Reread:
        """The same for runs that begin at block `start`."""
        return replace(self, entering=tuple(t if i >= start else None for i, t in enumerate(self.entering)))

    def lengths(self) -> torch.Tensor:
        """(B,) long: number of real tokens."""
        return self.mask.sum(1)

    @classmethod
    def joined(cls, parts: Sequence[Reread]) -> Reread:
        """The rows of several that run from the embedding, padded on the left to the longest."""
        width = max(part.mask.shape[1] for part in parts)

        def rows(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
            return torch.cat([nn.functional.pad(t, (width - t.shape[1], 0)) for t in tensors])

        return cls(rows([part.ids for part in parts]), rows([part.mask for part in parts]))


class Entering:
    """A pre-hook of blocks that collects what enters each of them during a run."""

    def __init__(self) -> None:
        self.states: list[torch.Tensor] = []

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        self.states.append(entering(args, kwargs))


class StepCache:
    """The cache that a model makes for itself, for reading one token after another."""

    def __init__(self) -> None:
        self.cache: Any = None

    def keep(self, output: Any) -> None:
        """Takes the cache of what the model returned."""
        self.cache = own_cache(output)


def on_last(hooks: Sequence[Hook], size: int, width: int) -> list[Hook]:
    """`hooks` so that they see the last `width` tokens of each of `size` sequences, as if the others stood in a cache.
    Changes of an edit act on all tokens."""
    return [(path, hook if isinstance(hook, ChangeHook) else _Last(hook, size, width)) for path, hook in hooks]


class _Last:
    def __init__(self, hook: Callable, size: int, width: int) -> None:
        self.hook, self.size, self.width = hook, size, width

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        whole = value.reshape(self.size, -1, value.shape[-1])
        tokens = whole.shape[1]
        cut = self._cut(value, tokens)
        given = tuple(self._cut(a, tokens) if isinstance(a, torch.Tensor) else a for a in args)
        result = self.hook(module, given, (cut, *output[1:]) if isinstance(output, tuple) else cut)
        if result is None:
            return None
        new = result[0] if isinstance(result, tuple) else result
        new = new.reshape(self.size, self.width, value.shape[-1])
        new = torch.cat([whole[:, : tokens - self.width], new], 1).reshape(value.shape)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    def _cut(self, value: torch.Tensor, tokens: int) -> torch.Tensor:
        """The last columns of a tensor over `tokens` tokens of every sequence, flattened where it was."""
        if value.shape[:2] == (self.size, tokens):
            return value[:, tokens - self.width :]
        if value.shape[:1] == (self.size * tokens,):
            rest = value.shape[1:]
            return value.reshape(self.size, tokens, *rest)[:, tokens - self.width :].reshape(-1, *rest)
        return value
