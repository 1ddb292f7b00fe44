"""Seconds spent by stage of a piece of work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """Seconds of this process' CPU time and of the wall clock."""

    cpu: float = 0.0
    wall: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.cpu + other.cpu, self.wall + other.wall)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.cpu - other.cpu, self.wall - other.wall)

    @classmethod
    def now(cls) -> Spent:
        """The readings of both clocks; differences between two of them mean something. A GPU's queue is waited for."""
        torch = sys.modules.get("torch")  # not imported: no GPU is at work
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return cls(time.process_time(), time.perf_counter())


class Watch:
    """Where the time goes: `with watch("edit"): ...` adds what the body takes to that stage.

    Stages may nest. What an inner one takes is not counted in the outer one, so that all together are the whole.

    Attributes:
        spent: names of the open stages, outermost first -> what the innermost took itself so far.
    """

    def __init__(self) -> None:
        self.spent: dict[tuple[str, ...], Spent] = {}
        self._open: tuple[str, ...] = ()
        self._inside = Spent()  # what the stages within the innermost open one took

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began, path, before = Spent.now(), (*self._open, stage), self._inside
        self._open, self._inside = path, Spent()
        try:
            yield
        finally:
            whole = Spent.now() - began
            self.spent[path] = self.spent.get(path, Spent()) + whole - self._inside
            self._open, self._inside = path[:-1], before + whole
