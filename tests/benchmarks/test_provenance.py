"""Which code made a result: a commit of its own checkout, else version and content; never another project's commit."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import VERSION
from benchmarks.provenance import PACKAGES, ROOT, commit, versions

CONTENT = re.compile(re.escape(VERSION) + r"\+[0-9a-f]{16}")
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def tree(tmp_path) -> Path:
    """A copy of what is installed: the packages' Python files and cli.py, in a folder within another one."""
    root = tmp_path / "home" / "site-packages"
    root.mkdir(parents=True)
    shutil.copy(ROOT / "cli.py", root)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def test_without_git_the_content_counts(tree):
    first = commit(tree)
    assert CONTENT.fullmatch(first)
    (tree / "numpy").mkdir()
    (tree / "numpy" / "__init__.py").write_text("")  # a neighbour in site-packages
    commit.cache_clear()
    assert commit(tree) == first
    for change in ("editing/cache.py", "benchmarks/ladders/catalogue/demo.toml", "cli.py"):
        before = commit(tree)
        with (tree / change).open("a") as file:
            file.write("\n")
        assert commit(tree) == before  # once per process
        commit.cache_clear()
        assert commit(tree) != before and CONTENT.fullmatch(commit(tree))
    renamed = tree / "editing" / "cache.py"
    before = commit(tree)
    renamed.rename(renamed.with_name("other.py"))
    commit.cache_clear()
    assert commit(tree) != before


@pytest.mark.parametrize(("where", "tracked"), (("home", "notes.txt"), ("home", "."), ("site-packages", "notes.txt")))
def test_a_repository_that_contains_the_packages_is_not_ours(tree, where, tracked):
    top = tree if where == "site-packages" else tree.parent
    git(top, "init", "-q")
    (top / "notes.txt").write_text("mine")
    git(top, "add", tracked)
    git(top, "commit", "-q", "-m", "notes")
    assert CONTENT.fullmatch(commit(tree))


def test_its_own_checkout(tree):
    git(tree, "init", "-q")
    assert CONTENT.fullmatch(commit(tree))  # nothing committed yet
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "all")
    commit.cache_clear()
    head = git(tree, "rev-parse", "HEAD")
    assert commit(tree) == head
    for other in ("untracked.txt", "editing/notes.md", "results.csv"):
        (tree / other).write_text("")
    commit.cache_clear()
    assert commit(tree) == head
    for change in ("editing/methods/linear/mine.py", "cli.py"):  # a new method that is in no commit; a changed file
        before = (tree / change).read_bytes() if (tree / change).exists() else None
        (tree / change).write_text("")
        commit.cache_clear()
        assert commit(tree) == f"{head}+dirty"
        (tree / change).unlink() if before is None else (tree / change).write_bytes(before)
    commit.cache_clear()
    assert commit(tree) == head


def test_versions_name_the_project_and_what_decides_numbers():
    assert versions()["project"] == VERSION
    assert set(versions()) == {"project", "python", "torch", "transformers", "tokenizers", "numpy"}
    code = "import sys, benchmarks.provenance as p; p.commit(), p.versions(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
