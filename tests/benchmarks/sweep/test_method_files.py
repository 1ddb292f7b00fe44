"""Cells of a method whose file was changed since are kept, and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.sweep import changed_methods, compact
from editing.methods import by_name, method_file
from tests.benchmarks.sweep.test_runner import grid_run

pytestmark = pytest.mark.usefixtures("own_cache")


def test_cells_of_a_changed_method_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = grid_run(tmp_path)
    assert changed_methods(run) == [] and method_file("rome")[0] == "locate_then_edit/rome.py"
    # The class as if its module were another file: what its author has just saved.
    other = tmp_path / "rome.py"
    other.write_text("# another version")
    monkeypatch.setattr(by_name.sys.modules[by_name.method_class("rome").__module__], "__file__", str(other))
    method_file.cache_clear()
    said = changed_methods(run)
    assert len(said) == 1 and said[0].startswith("4 cells of rome were made by another version of ")
    compact(run)
    assert changed_methods(run) == said
    method_file.cache_clear()
