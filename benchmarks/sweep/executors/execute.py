"""Who runs the cells of a plan: this process, processes of this machine, Ray, or the jobs of a batch system.

All of them only call `run_bench` on parts of the plan over one run folder. Its claims keep two of them off one cell, and what one
lost another finds missing; so any of them goes on with what any other began.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.sweep.plan import Plan
from benchmarks.sweep.runner import Outcome, run_bench
from benchmarks.sweep.shards import Shard
from editing.errors import BadRequest
from editing.model.load import check_device

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


def execute(
    plan: Plan, out: Path, workers: Workers, device: str | None = None, quiet: bool = False, verbose: bool = False
) -> Outcome:
    """Run the missing cells of `plan` into `out`, as `run_bench` does, by `workers`.

    What a worker that died has left undone is done here at the end; cells that failed in a worker are not tried twice.

    Raises:
        UserError: as `run_bench`; Ray asked for and not installed or not reachable.
        KeyboardInterrupt: with a message that says what is kept.
    """
    check_device(device)
    out = Path(out)
    if workers.executor == "local" and workers.count == 1:
        return run_bench(plan, out, device, quiet, verbose, workers.shard)
    if workers.executor == "ray":
        from benchmarks.sweep.executors.on_ray import run_parts
    else:
        from benchmarks.sweep.executors.local import run_parts
    try:
        parted = run_parts(plan, out, workers, device, quiet)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; what is finished is kept in {out}; run the same command to go on"
        ) from None
    rest = run_bench(plan, out, device, quiet, verbose, retry=False)
    ran = rest.ran + parted.ran
    return replace(rest, ran=ran, kept=rest.cells - ran - len(rest.failed), seconds=rest.seconds + parted.seconds)
