"""`slurm PLAN`: a job array for SLURM, one shard of the plan a job. SLURM does the rest; jobs may be sent again at
will."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from benchmarks.plans import plan_path
from benchmarks.provenance import ROOT
from editing.errors import BadRequest


def array_script(
    plan: str | Path, out: Path, jobs: int, *, hours: float = 24, cpus: int = 4, memory: str = "32G", gpus: int = 0
) -> str:
    """The sbatch script that runs `plan` (a file, or a name in `benchmarks/plans`) as `jobs` shards into `out`; paths
    become absolute.

    Raises:
        BadRequest: not a number of jobs, hours or an amount of memory that SLURM takes.
    """
    if jobs < 1 or cpus < 1 or gpus < 0 or not 0 < hours <= 24 * 365:
        raise BadRequest("jobs and cpus must be 1 or more, gpus 0 or more, and hours above 0")
    if not re.fullmatch(r"\d+[KMGT]?", memory):
        raise BadRequest(f"memory {memory!r:.40}: write a number with K, M, G or T, such as 32G")
    minutes = round(hours * 60) or 1
    plan = plan_path(plan)
    name = re.sub(r"[^\w.-]+", "-", plan.stem)
    command = [sys.executable, str(ROOT / "cli.py"), "bench", str(plan.resolve()), "--out", str(out.resolve())]
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={name}",
        f"#SBATCH --array=1-{jobs}",
        f"#SBATCH --time={minutes // 60:02}:{minutes % 60:02}:00",
        f"#SBATCH --cpus-per-task={cpus}",
        f"#SBATCH --mem={memory}",
        *([f"#SBATCH --gres=gpu:{gpus}"] if gpus else []),
        f"#SBATCH --output={name}-%A_%a.log",
        "#SBATCH --open-mode=append",  # a requeued job keeps what its first attempt said
        "#SBATCH --requeue",
        "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}",
        f"cd {shlex.quote(str(Path.cwd()))} || exit 2",  # relative paths in the plan mean what they mean here
        f"exec {shlex.join(command)} --shard ${{SLURM_ARRAY_TASK_ID}}/{jobs}",
    ]
    return "\n".join(lines) + "\n"
