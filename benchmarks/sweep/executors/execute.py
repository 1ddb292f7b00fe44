"""Who runs the cells of a plan: this process, processes of this machine, Ray, or the jobs of a batch system.

All of them only call `run_bench` on parts of the plan over one run folder. Its claims keep two of them off one cell,
and what one lost another finds missing; so any of them goes on with what any other began.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.sweep.executors.workers import Workers
from benchmarks.sweep.planning.plan import Plan
from benchmarks.sweep.runner import Outcome, run_bench
from editing.model import check_device

ONE_PROCESS = Workers()


def execute(
    plan: Plan,
    out: Path | str,
    workers: Workers = ONE_PROCESS,
    device: str | None = None,
    quiet: bool = False,
    verbose: bool = False,
) -> Outcome:
    """Run the missing cells of `plan` into `out`, as `run_bench` does, by `workers`.

    What a worker that died has left undone is done here at the end; cells that failed in a worker are not tried twice.

    Raises:
        UserError: as `run_bench`; Ray requested and not installed or not reachable.
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
