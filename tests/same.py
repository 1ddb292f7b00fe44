"""Two changes of a model are the same bit for bit."""

from __future__ import annotations

import torch

from editing.delta import Delta
from editing.delta.delta import PARTS


def same_changes(one: Delta, other: Delta) -> None:
    """Fails, naming the first place that differs."""
    assert list(one.factors) == list(other.factors)
    assert one.context == other.context
    for name, change in one.factors.items():
        assert type(change) is type(other.factors[name]), name
        for part in PARTS[type(change)]:
            assert torch.equal(getattr(change, part), getattr(other.factors[name], part)), f"{name}.{part}"
