"""A SLURM of one node for tests: munged, slurmctld and slurmd of this machine's packages, private to a folder and to
free ports."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "sinfo")
INSTALL = "apt-get install slurmctld slurmd slurm-client munge"
PATHS = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
)  # the daemons are no user's programs
DONE = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}

# No cgroups, accounting or mail, so that it runs in a container and as any user. Cores and memory are those written
# here, whatever the machine has (config_overrides). A requeued job waits as long as a credential is valid (cred_expire,
# usually two minutes).
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={socket},cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MailProg=/bin/true
ReturnToService=2
MinJobAge=3600
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs. `environment` brings SLURM's programs to it."""

    folder: Path
    environment: Mapping[str, str]

    def ask(self, *command: str | Path, stdin: str | None = None) -> str:
        """The stdout of one of SLURM's programs; an AssertionError with its stderr where it fails."""
        done = subprocess.run(command, env=self.environment, input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def tasks(self, job: str) -> dict[str, dict[str, str]]:
        """Number of each task of an array -> its JobState, Restarts, ExitCode...; those still waiting may be one
        entry."""
        lines = self.ask("scontrol", "show", "job", job, "--oneliner").splitlines()
        match = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
        return {task["ArrayTaskId"]: task for task in match}

    def finish(self, job: str, seconds: float) -> dict[str, dict[str, str]]:
        """The tasks of a job when all of them have ended."""
        await_that(lambda: all(task["JobState"] in DONE for task in self.tasks(job).values()), seconds, job)
        return self.tasks(job)

    def processes(self) -> list[psutil.Process]:
        """Daemons, steps and jobs that are alive: all have this cluster's SLURM_CONF in their environment."""
        result = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]:
                    result.append(process)
            except psutil.Error:  # gone, a zombie, or another user's
                continue
        return result


def lacking() -> list[str]:
    """SLURM's programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATHS) is None]


def await_that(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask until it is so; an AssertionError when it takes longer."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


@contextmanager
def cluster(folder: Path, cpus: int = 2, memory: int = 4000) -> Iterator[Cluster]:
    """A cluster with an idle node of so many cores and MB; at the end its jobs are cancelled and its daemons
    stopped."""
    with ExitStack() as stack:
        short = Path(tempfile.mkdtemp(prefix="munge-"))  # a socket's path has less than 108 characters
        stack.callback(shutil.rmtree, short)
        short.chmod(0o711)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "cgroup.conf").write_text(f"CgroupPlugin={_no_cgroups()}\n")
        key = folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        config = folder / "slurm.conf"
        host, (controller_port, node_port) = socket.gethostname().partition(".")[0], _free_ports(2)
        about = {"user": os.getuid(), "socket": short / "socket", "folder": folder, "cpus": cpus, "memory": memory}
        config.write_text(CONFIG.format(host=host, controller_port=controller_port, node_port=node_port, **about))
        only_cpu = {"CUDA_VISIBLE_DEVICES": ""}  # as the run on the CPU that the table is compared with
        made = Cluster(folder, os.environ | {"SLURM_CONF": str(config), "PATH": PATHS} | only_cpu)

        files = [f"--{kind}-file={folder / f'munge.{kind}'}" for kind in ("key", "pid", "log", "seed")]
        stack.enter_context(_daemon(made, "munged", "--foreground", f"--socket={short / 'socket'}", *files))
        await_that((short / "socket").exists, 20, "munged")
        stack.enter_context(_daemon(made, "slurmctld", "-D"))
        stack.enter_context(_daemon(made, "slurmd", "-D"))
        await_that(lambda: _state(made) == "idle", 60, f"an idle node (see {folder}/*.out)")
        stack.callback(_empty, made)
        yield made


@contextmanager
def _daemon(made: Cluster, name: str, *arguments: str) -> Iterator[None]:
    with (made.folder / f"{name}.out").open("w") as out:
        process = subprocess.Popen([name, *arguments], env=made.environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _no_cgroups() -> str:
    """The plugin that touches no cgroup when nothing asks it to; before 23.02 there is no "disabled", and v2 wants
    systemd."""
    text = subprocess.run(["slurmd", "-V"], env={"PATH": PATHS}, capture_output=True, text=True).stdout
    version = tuple(map(int, re.findall(r"\d+", text)[:2]))
    return "disabled" if version >= (23, 2) else "cgroup/v1"


def _state(made: Cluster) -> str:
    questions = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(questions, env=made.environment, capture_output=True, text=True).stdout.strip()


def _empty(made: Cluster) -> None:
    """No job is left: a node that stops leaves its jobs running."""
    made.ask("scancel", f"--user={os.getuid()}")
    await_that(lambda: _state(made) == "idle", 60, "the end of the cancelled jobs")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
