"""Where computed things are kept: the environment, the source tree, the user's cache folder; looked up at each call."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from editing import cache
from editing.cache import PARTS, SOURCE, cache_root, clear_cache, main
from editing.errors import BadData
from editing.files import made_folder

NAMES = ("VALLEY_CACHE", "EDITBENCH_CACHE")


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    """An empty source tree; none of the variables is set."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache, "SOURCE", tmp_path)
    return tmp_path


def test_the_users_cache_folder_is_the_default_and_nothing_is_made(source):
    assert cache_root() == user_cache_path("concept-valley")
    assert cache_root().name == "concept-valley" and not (source / ".cache").exists()


def test_a_cache_that_is_in_the_source_tree_is_still_used(source):
    (source / ".cache").mkdir()
    assert cache_root() == source / ".cache"


def test_a_file_of_that_name_is_no_cache(source):
    (source / ".cache").write_text("")
    assert cache_root() == user_cache_path("concept-valley")


def test_the_variable_and_its_former_name_come_first(source, tmp_path, monkeypatch):
    (source / ".cache").mkdir()
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "old"))
    assert cache_root() == tmp_path / "old"
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path / "new"))
    assert cache_root() == tmp_path / "new"
    monkeypatch.setenv("VALLEY_CACHE", "")  # set and empty is not set
    assert cache_root() == tmp_path / "old"


def test_the_source_tree_is_the_one_of_the_code():
    assert (cache.SOURCE / "editing" / "cache.py").is_file()


def test_clearing_deletes_our_folders_alone_and_says_how_large_they_were(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path))
    (tmp_path / "models" / "one").mkdir(parents=True)
    (tmp_path / "models" / "one" / "weights").write_bytes(bytes(3 << 20))
    (tmp_path / "letters").mkdir()
    main()
    assert not (tmp_path / "models").exists() and (tmp_path / "letters").is_dir()
    assert f"deleted {tmp_path / 'models'} (3.0 MiB)" in capsys.readouterr().out
    assert clear_cache() == []


def test_every_folder_of_the_cache_is_known():
    """Each `cache_root() / "name"` in the code is one that clearing deletes."""
    text = "\n".join(
        path.read_text() for package in ("editing", "benchmarks") for path in (SOURCE / package).rglob("*.py")
    )
    named = set(re.findall(r"cache_root\(\)\)? / \"(\w+)\"", text)) | {"models"}
    assert named == set(PARTS)


def test_a_cache_that_cannot_be_written_names_the_variable_and_another_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path / "cache"))
    for part in ("cache", "out"):
        (tmp_path / part).write_text("a file, no folder")
    with pytest.raises(BadData, match=r"cannot write there \(.*\); set VALLEY_CACHE to another folder or free space"):
        made_folder(tmp_path / "cache" / "models")
    with pytest.raises(BadData, match=r"cannot write there \(.*\); choose another folder or free space"):
        made_folder(tmp_path / "out" / "run")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder here that even an administrator cannot write to")
def test_a_folder_that_is_there_and_takes_no_file_is_refused() -> None:
    with pytest.raises(BadData, match=r"/proc/self: cannot write there"):
        made_folder(Path("/proc/self"))
