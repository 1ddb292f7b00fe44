"""What a result was made with: versions of the libraries, and which code of the project."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import VERSION

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("editing", "benchmarks", "valley")
SUFFIXES = (".py", ".toml", ".txt")
THIS = "benchmarks/provenance.py"
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


@cache
def versions() -> dict[str, str]:
    """Name -> version of the project, Python and the libraries that decide numbers."""
    numbers = {"project": VERSION, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            numbers[name] = version(name)
        except PackageNotFoundError:
            numbers[name] = "missing"
    return numbers


@cache
def machine() -> str:
    """What kind of machine this is: system, processor and number of cores, such as "Linux x86_64, 2 cores, AMD EPYC".

    Never the name of the machine or of its user.
    """
    model = platform.processor()
    cpus = Path("/proc/cpuinfo")
    if cpus.is_file():
        names = [
            line.partition(":")[2].strip() for line in cpus.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    parts = [f"{platform.system()} {platform.machine()}", f"{os.cpu_count() or 1} cores", model]
    return ", ".join(part for part in parts if part)


@cache
def commit(root: Path = ROOT) -> str:
    """Which code this is: its git commit, `+dirty` where a file of the program differs from it or is not in it, as a
    new method; outside its own git checkout the version and a hash of the files, such as `0.1.0+3f2a90c1d4e5b678`.

    A repository that merely contains the installed packages (a home folder under git, for example) is not taken.

    Args:
        root: the source tree, or the folder that the packages are installed in.
    """
    try:
        top, head = _git(root, "rev-parse", "--show-toplevel", "HEAD").splitlines()
        _git(root, "ls-files", "--error-unmatch", THIS)  # fails where this very file is not tracked
        if Path(top).samefile(root):
            changed = _git(root, "status", "--porcelain", "--untracked-files=all", "--", "cli.py", *PACKAGES)
            dirty = any(line.rstrip('"').endswith(SUFFIXES) for line in changed.splitlines())
            return head + ("+dirty" if dirty else "")
    except (OSError, subprocess.SubprocessError):  # no git on this machine, or no commit of ours here
        pass
    return f"{VERSION}+{_content(root)}"


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()


# Raise it when the same cell would give other rows than before: scoring, probes, engine.
CODE_SCHEMA = 3


def _content(root: Path) -> str:
    """16 hexadecimal digits of the SHA-256 over names and contents of the program's own files, tests and results
    aside."""
    content = hashlib.sha256()
    paths = [root / "cli.py", *(path for package in PACKAGES for path in (root / package).rglob("*"))]
    for path in sorted(path for path in paths if path.suffix in SUFFIXES and path.is_file()):
        for part in (path.relative_to(root).as_posix().encode(), path.read_bytes()):
            content.update(len(part).to_bytes(8, "big") + part)
    return content.hexdigest()[:16]
