"""Which values of a parameter the fast tests take; the others run with `make test-slow`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def fast_are(fast: Iterable[Any], values: Iterable[Any]) -> list[Any]:
    """`values` for `pytest.mark.parametrize` or a fixture; all but `fast` are marked slow.

    Raises:
        ValueError: one of `fast` is not among the values.
    """
    chosen, every = list(fast), list(values)
    if absent := [value for value in chosen if value not in every]:
        raise ValueError(f"{absent}: not among {every}")
    return [value if value in chosen else _slow(value) for value in every]


def _slow(value: Any) -> Any:
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
