"""The options that `where` prints are those that a shell hands to `edit`."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from benchmarks.commands.options import setting
from benchmarks.where.choice import Choice

SETTINGS = {"options": '{"contexts_per_step":4,"stop_loss":0.05}', "inner": "rome", "site": "mlp", "depth": 0.375}


def test_settings_that_are_json() -> None:
    chosen = Choice("fact", "rect", SETTINGS, "mlp", "last", 1, 4, 0.75, 0.5, 0.5, 0.5, 0.4, 0.6, 3)
    shell = shutil.which("bash") or pytest.skip("there is no bash")
    said = subprocess.run(
        [shell, "-c", f"printf '%s\\n' {chosen.line}"], capture_output=True, text=True, check=True, timeout=60
    )
    words = said.stdout.splitlines()
    assert words[:4] == ["--method", "rect", "--dose", "0.75"] and set(words[4::2]) == {"--set"}
    assert dict(map(setting, words[5::2])) == SETTINGS
