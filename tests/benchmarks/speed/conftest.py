"""Every timing begins with a search for garbage, which is slow in a process that holds as much as that of the tests."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def little_to_search() -> None:
    """What is there before a module of timings is not searched again."""
    gc.collect()
    gc.freeze()
