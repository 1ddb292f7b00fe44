"""What needs no model waits for no torch: settings of methods, plans, and a run with nothing left to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.commands.test_cli import call
from tests.benchmarks.tiny import World, world

pytestmark = pytest.mark.usefixtures("own_cache")

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "transformers", "tokenizers", "altair")
CALL = """
import sys
from benchmarks.commands import cli
try:
    cli(sys.argv[1:])
finally:
    print(*sorted(set({heavy}) & set(sys.modules)), file=sys.stderr)
"""


def imports_of(*arguments: object) -> tuple[str, list[str]]:
    """What a command prints, in a process of its own, and which heavy libraries it has imported at the end."""
    code = CALL.format(heavy=HEAVY)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.splitlines()[-1].split()


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


def test_a_finished_run_says_so_without_torch(tiny: World, tmp_path: Path) -> None:
    ladder = tiny.write_ladder("single", one=str(tiny.folder / "one"))
    methods = ("--methods", "rome", "--kinds", "fact", "--sites", "mlp", "--limit", "1")
    options = ("--datasets", f"fact_file:{tiny.facts}", "--corpus", "samples:500", "--out", tmp_path, "--json")
    arguments = ("bench", "--ladder", ladder, *methods, *options)
    done = call(*arguments, "--device", "cpu")
    assert done.exit_code == 0, done.output
    first = json.loads(done.stdout)
    assert first["ran"] == first["cells"] > 0
    printed, heavy = imports_of(*arguments)
    again = json.loads(printed)
    assert (again["ran"], again["kept"]) == (0, first["cells"])
    assert heavy == []


def test_settings_and_plans_are_read_without_torch() -> None:
    code = (
        "import sys\n"
        "from benchmarks.sweep import load_plan\n"
        "from editing.methods import make_method, method_names\n"
        "load_plan('quick'), [make_method(name).settings() for name in method_names()]\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)
