"""Parts of a plan as Ray tasks, on this machine or a cluster that shares the run folder, the cache and the code.

Ray starts a task again when its worker dies; it then goes on where the folder says.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from benchmarks.provenance import ROOT
from benchmarks.sweep.executors.local import Parted, work
from benchmarks.sweep.executors.workers import Workers
from benchmarks.sweep.planning.plan import Plan
from benchmarks.sweep.search.place import places
from benchmarks.sweep.shards import Part, parts
from editing.cache import cache_root
from editing.errors import BadRequest
from editing.progress import progress

RETRIES = 5  # of a part whose worker died; an error in the part itself is not one of these


def run_parts(plan: Plan, out: Path, workers: Workers, device: str | None, quiet: bool) -> Parted:
    """Run all parts as tasks that ask for `workers.cpus` and `workers.gpus`; a part whose worker keeps dying is left
    undone.

    Raises:
        BadRequest: Ray is not installed, or no cluster at `workers.address`. UserError: as `run_bench`.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]  # optional: checked where it is installed
        from ray.exceptions import RayTaskError, WorkerCrashedError  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BadRequest("--executor ray needs Ray; install it with `pip install 'ray>=2.40,<3'`") from error
    began, ran = time.perf_counter(), 0
    pieces = parts(len(places(plan)[0]), workers.count)
    variables = {"PYTHONPATH": str(ROOT), "VALLEY_CACHE": str(cache_root().resolve())}
    variables |= {key: os.environ[key] for key in ("HF_HOME", "HF_HUB_OFFLINE") if key in os.environ}
    here = (
        {} if workers.address else {"num_cpus": max(1, round(workers.count * workers.cpus)), "include_dashboard": False}
    )
    try:
        ray.init(address=workers.address or "local", runtime_env={"env_vars": variables}, log_to_driver=False, **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BadRequest(f"--address {workers.address}: no Ray there ({str(error)[:120]})") from error
    try:
        task = ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus, max_retries=RETRIES)(_in_folder)
        waiting = [task.remote(str(Path.cwd()), plan, str(out.resolve()), device, part) for part in pieces]
        with progress(len(pieces), unit="parts", show=not quiet) as bar:
            while waiting:
                (done,), waiting = ray.wait(waiting)
                try:
                    ran += ray.get(done)
                except WorkerCrashedError:
                    bar.write("the worker of a part died again and again; what it lacks is done here", file=sys.stderr)
                except RayTaskError as error:
                    raise error.as_instanceof_cause() from None
                bar.update()
    finally:
        ray.shutdown()
    return Parted(ran, time.perf_counter() - began)


def _in_folder(folder: str, plan: Plan, out: str, device: str | None, part: Part) -> int:
    """`work` where relative paths of the plan mean what they mean to whoever requested it."""
    os.chdir(folder)
    return work(plan, Path(out), device, part)
