"""Child processes that have everything imported, so that a kill hits the work and not the imports."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Child:
    """A forked process and the file with its stderr."""

    pid: int
    log: Path

    def kill(self, sign: int = signal.SIGKILL) -> None:
        os.kill(self.pid, sign)

    def wait(self, seconds: float = 240) -> int:
        """Its exit code, negative for a signal; killed after `seconds`."""
        until = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > until:
                self.kill()
            time.sleep(0.01)


def fork(work: Callable[[], object], result: Path) -> Child:
    """Start `work` in a child process.

    Its exit code is that of a `SystemExit`, 1 for any other exception, with the error and its traceback in `result`.
    """
    pid = os.fork()
    if pid:
        return Child(pid, result)
    code = 1
    try:
        with result.open("w") as sys.stderr:
            try:
                work()
                code = 0
            except SystemExit as leave:
                code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
                sys.stderr.flush()
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                traceback.print_exc()
    finally:
        os._exit(code)
