"""A sweep cut into parts for several workers or machines: by rung, so that a model is loaded once, then within a
rung."""

from __future__ import annotations

import re
from dataclasses import dataclass

from editing.errors import BadRequest


@dataclass(frozen=True)
class Part:
    """Some rungs of a ladder, or a share of the work on one of them.

    Attributes:
        rungs: their places among the rungs that are there.
        share, of: within each rung, every `of`-th unit from the `share`-th on. A unit is a cell, or a method on an
            edit kind where settings are searched by halving, whose rounds build on one another.
    """

    rungs: tuple[int, ...]
    share: int = 0
    of: int = 1

    def takes(self, unit: int) -> bool:
        return unit % self.of == self.share


@dataclass(frozen=True)
class Shard:
    """Part number `index` (from 1) of `count`."""

    index: int
    count: int

    def part(self, n_rungs: int) -> Part:
        """Rungs in turn; with more shards than rungs, the shards of a rung divide its work."""
        i = self.index - 1
        if self.count <= n_rungs:
            return Part(tuple(range(i, n_rungs, self.count)))
        rung = i % n_rungs
        return Part((rung,), i // n_rungs, len(range(rung, self.count, n_rungs)))


def parse_shard(text: str) -> Shard:
    """`i/n` with i from 1 to n.

    Raises:
        BadRequest: another form.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise BadRequest(f"shard {text!r:.40}: write i/n with i from 1 to n, such as 2/8")
    return Shard(int(match[1]), int(match[2]))


def parts(n_rungs: int, workers: int) -> tuple[Part, ...]:
    """The sweep in pieces for `workers` that take the next piece when they are free: a rung each, less where they are
    more."""
    if workers <= n_rungs:
        return tuple(Part((rung,)) for rung in range(n_rungs))
    return tuple(Shard(i + 1, workers).part(n_rungs) for i in range(workers))
