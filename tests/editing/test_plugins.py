"""Plug-ins found in a package: a broken file, and two of one name, are refused in one line that names the file."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from editing.plugins import BadPlugin, Named, classes_in, modules_in, need
from editing.solve import Settings

NUMBERS = itertools.count()
GOOD = """
from dataclasses import dataclass
from typing import ClassVar
from tests.editing.test_plugins import Base

@dataclass(frozen=True)
class Good(Base):
    name: ClassVar[str] = "good"
    def each(self): ...
"""


class Base(Settings):
    """What the plug-ins of this test derive from."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / f"plugins_{next(NUMBERS)}"
    (folder / "inner").mkdir(parents=True)
    for path in (folder, folder / "inner"):
        (path / "__init__.py").write_text("")
    (folder / "inner" / "good.py").write_text(GOOD)
    return folder


def refused(package: Path, text: str) -> str:
    (package / "other.py").write_text(text)
    with pytest.raises(BadPlugin) as caught:
        classes_in(package.name, Base)
    message = str(caught.value)
    assert str(package / "other.py") in message and "\n" not in message
    return message


def test_a_class_in_a_folder_within_is_found_and_an_imported_one_is_not_counted_twice(package: Path) -> None:
    (package / "other.py").write_text(f"from {package.name}.inner.good import Good\n")
    assert list(classes_in(package.name, Base)) == ["good"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def f(:", "cannot be imported (SyntaxError: "),
        ("import nowhere_module", "cannot be imported (ModuleNotFoundError: No module named 'nowhere_module'"),
        ("raise ValueError('one\\ntwo')", "cannot be imported (ValueError: one two)"),
        (GOOD, "'good' is also a name in "),
        (GOOD.replace("@dataclass(frozen=True)", "").replace('"good"', '"new"'), "Good is no dataclass"),
    ],
)
def test_a_broken_file_is_named(package: Path, text: str, says: str) -> None:
    assert says in refused(package, text)


def test_a_class_without_what_its_base_leaves_open_is_named(package: Path) -> None:
    from benchmarks.readings.base import Reading

    text = GOOD.replace("tests.editing.test_plugins import Base", "benchmarks.readings.base import Reading as Base")
    (package / "inner" / "good.py").write_text(text)
    with pytest.raises(BadPlugin, match=r"good\.py: Good defines no rows; add it"):
        classes_in(package.name, Reading)


def test_a_module_that_lacks_a_part_is_named(package: Path) -> None:
    module = next(one for one in modules_in(package.name) if one.__name__.endswith("good"))
    need(module, ("Good",))
    with pytest.raises(BadPlugin, match=r"good\.py: has no MARGIN, test; add it"):
        need(module, ("Good", "MARGIN", "test"))


def test_both_files_of_one_name_are_named() -> None:
    found: Named[int] = Named()
    found.put("h7", 1, "a.py")
    with pytest.raises(BadPlugin, match=r"b\.py: 'h7' is also a name in a\.py; rename one of them"):
        found.put("h7", 2, "b.py")
    assert found == {"h7": 1}
