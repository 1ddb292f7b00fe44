"""Cache layers of transformers: one that is never extended, one that grows token by token. Imports transformers."""

from __future__ import annotations

import torch
from transformers.cache_utils import DynamicLayer

COLUMNS = 32  # room is made for so many more tokens at a time


class FixedLayer(DynamicLayer):
    """Keys and values that are read, never extended: what `update` returns is not kept, only what was `added`."""

    def __init__(self, keys: torch.Tensor | None, values: torch.Tensor | None, length: int) -> None:
        super().__init__()
        self.keys, self.values, self.length, self.is_initialized = keys, values, length, True
        self.added: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(self, key_states, value_states, *args, **kwargs):
        self.added = key_states, value_states
        if self.keys is None or self.values is None:
            return key_states, value_states
        return torch.cat([self.keys, key_states], -2), torch.cat([self.values, value_states], -2)

    def get_seq_length(self) -> int:
        return self.length


class GrowingLayer(DynamicLayer):
    """Keys and values of texts that grow token by token: a new token is written behind the others, where
    `DynamicLayer` copies all of them at every step. Not for gradients.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rooms: list[torch.Tensor] = []  # keys and values with what is free behind them

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        held = [] if self.keys is None or self.values is None else [self.keys, self.values]
        own = len(self.rooms) == 2 and all(
            a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
            for a, b in zip(self.rooms, held, strict=True)
        )
        if not own or end > self.rooms[0].shape[-2]:  # also where the texts were repeated or put in another order
            self.rooms = []
            for old, new in zip(held, (key_states, value_states), strict=True):
                room = new.new_empty(*new.shape[:-2], end + COLUMNS, new.shape[-1])
                if length:
                    room[..., :length, :] = old
                self.rooms.append(room)
        for room, new in zip(self.rooms, (key_states, value_states), strict=True):
            room[..., length:end, :] = new
        self.keys, self.values = (room[..., :end, :] for room in self.rooms)
        return self.keys, self.values
