"""Installed from a wheel the program is whole: every file it reads, the command, a cache of the user's; requirements
are those it imports."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pytest

import cli
from benchmarks import VERSION
from benchmarks.provenance import PACKAGES
from editing.cache import SOURCE

PROJECT = tomllib.loads((SOURCE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# imported, not required
OUTSIDE_REQUIREMENTS = {
    "ray": "the extra `ray`",
    "gradio": "the extra `play`",
    "lm-eval": "the extra `harness`",
    "nltk": "definitions for drafts, where it is installed",
}
NOT_IMPORTED = {"accelerate": "transformers imports it for device_map"}  # required, not imported


def plain(name: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(name: str) -> dict[str, str]:
    """Distribution -> the whole requirement, of a file; lines of options are left out."""
    lines = (line.partition("#")[0].strip() for line in (SOURCE / name).read_text(encoding="utf-8").splitlines())
    return named(line for line in lines if line and not line.startswith("-"))


def named(lines: Iterable[str]) -> dict[str, str]:
    """Distribution -> its requirement."""
    return {plain(re.split(r"[\[<>=!~ ]", line)[0]): line for line in lines}


@cache
def distributions() -> Mapping[str, list[str]]:
    """Module -> the distributions that have it; every installed file is looked at."""
    return importlib.metadata.packages_distributions()


def imported(*folders: str) -> set[str]:
    """Distributions that the files of these folders import, inside functions too."""
    modules = set()
    for path in (path for folder in folders for path in [*(SOURCE / folder).rglob("*.py"), SOURCE / folder]):
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add((node.module or "").partition(".")[0])
    known = distributions()
    foreign = modules - set(sys.stdlib_module_names) - {*PACKAGES, "cli", "tests"}
    return {plain(known.get(module, [module])[0]) for module in foreign}


def test_what_is_imported_is_required_and_what_is_required_is_imported():
    result, required = imported(*PACKAGES, "cli.py"), set(requirements("requirements.txt"))
    assert result - required == set(OUTSIDE_REQUIREMENTS)
    assert required - result == set(NOT_IMPORTED)
    assert {"torch", "pyyaml", "vl-convert-python"} <= result  # the scan sees imports inside functions, and other names


def test_what_tests_import_is_required_for_development():
    development = requirements("requirements-dev.txt")
    assert "-r requirements.txt" in (SOURCE / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    assert imported("tests") - set(requirements("requirements.txt")) <= set(development)
    assert not set(development) & set(requirements("requirements.txt"))
    assert named(PROJECT["optional-dependencies"]["dev"]) == development


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("OMP_WAIT_POLICY", "", "PASSIVE"),
        ("OMP_WAIT_POLICY", "ACTIVE", "ACTIVE"),
        ("OPENBLAS_NUM_THREADS", "", "1"),
        ("OPENBLAS_NUM_THREADS", "2", "2"),
    ],
)
def test_threads_do_not_spin_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, name: str, before: str, after: str
):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv(name, before)
    if not before:
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.argv", ["valley", "--version"])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 0
    assert os.environ[name] == after


def test_the_version_is_had_without_torch():
    code = "import sys, benchmarks; print(benchmarks.VERSION, 'torch' in sys.modules)"
    assert run(sys.executable, "-c", code, folder=SOURCE) == f"{VERSION} False\n"


def run(*command: object, folder: Path, **variables: str) -> str:
    """What a command prints."""
    environment = {key: value for key, value in os.environ.items() if key not in ("VALLEY_CACHE", "EDITBENCH_CACHE")}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree (a build leaves files behind) with the setuptools that are here: no network."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(SOURCE / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("cli.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(SOURCE / name, tree)
    for name in ("tests", "results"):  # with what would be taken if they were packages
        (tree / name).mkdir()
        for file in ("__init__.py", "study.toml"):
            (tree / name / file).write_text("")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", out, ".", folder=tree)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed in, far from the source tree."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    run(*pip, "--target", folder, wheel, folder=folder)
    return folder


def test_the_wheel_holds_the_program_and_nothing_else(wheel: Path):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (path for package in PACKAGES for path in (SOURCE / package).rglob("*") if path.is_file())
    program = {path.relative_to(SOURCE).as_posix() for path in files if path.suffix != ".pyc"}
    assert names == program | {"cli.py"}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


@pytest.mark.slow  # an installation and four processes, two of which import torch
def test_the_command_runs_from_any_folder(installed: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    variables = {"PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(tmp_path / "user"), "HOME": str(tmp_path)}

    def valley(*arguments: str) -> str:
        return run(installed / "bin" / "valley", *arguments, folder=elsewhere, **variables)

    assert "Usage: valley" in valley("--help")
    assert "gpt2-2x128" in valley("bench", "quick", "--dry-run")
    assert f" bench {installed}/" in valley("slurm", "quick")

    modules = "from benchmarks.provenance import ROOT, commit; from editing.cache import cache_root"
    code = f"{modules}; print(ROOT, commit(), cache_root())"
    root, commit, cache = run(sys.executable, "-c", code, folder=elsewhere, **variables).split()
    assert Path(root) == installed and (installed / "cli.py").is_file()  # what job arrays run
    assert re.fullmatch(re.escape(VERSION) + r"\+[0-9a-f]{16}", commit)
    assert sys.platform != "linux" or cache == str(tmp_path / "user" / "concept-valley")
    assert not list(elsewhere.iterdir())
