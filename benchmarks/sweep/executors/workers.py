"""How a plan is carried out: which executor, how many parts at a time."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.sweep.shards import Shard
from editing.errors import BadRequest

EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class Workers:
    """How a plan is carried out.

    Attributes:
        executor: one of EXECUTORS.
        count: parts at work at a time; 1 on "local" is this process.
        address: of a Ray cluster; empty starts Ray on this machine.
        cpus, gpus: what Ray keeps free for each part.
        shard: do only this share of the plan; the others are left to other jobs.
    """

    executor: str = "local"
    count: int = 1
    address: str = ""
    cpus: float = 1
    gpus: float = 0
    shard: Shard | None = None

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise BadRequest(f"no executor {self.executor!r}; use one of {', '.join(EXECUTORS)}")
        if self.count < 1:
            raise BadRequest(f"workers {self.count}: give 1 or more")
        if self.shard and (self.executor != "local" or self.count > 1):
            raise BadRequest("a shard runs in one process; leave out --workers and --executor, or --shard")
        if self.executor != "ray" and self.address:
            raise BadRequest("--address is that of a Ray cluster; add --executor ray")
