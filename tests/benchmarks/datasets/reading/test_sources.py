"""Published files: downloaded once from a real server on this machine, checked, and what is said when that cannot
be."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import stat
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.datasets.reading.sources import Source, fetched, located
from benchmarks.datasets.registry import _module, build_cases, forms
from editing.cache import cache_root
from editing.errors import BadData, BadRequest
from tests.benchmarks import wild

DOWNLOADED = ("counterfact", "zsre", "mquake", "ripple_edits", "easyedit")
TEXT = json.dumps(wild.zsre())
RIGHT = hashlib.sha256(TEXT.encode()).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files; of `cut.json` it announces twice the bytes that it sends."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def end_headers(self) -> None:
        if self.path == "/cut.json":
            size = next(line for line in self._headers_buffer if line.startswith(b"Content-Length"))
            self._headers_buffer[self._headers_buffer.index(size)] = b"Content-Length: %d\r\n" % (2 * len(TEXT))
        super().end_headers()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The folder that is served, and its address."""
    (tmp_path / "www").mkdir()
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "www")) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield tmp_path / "www", f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def source(url: str, sha256: str = RIGHT) -> Source:
    return Source("https://here.example", "MIT", url, sha256)


def refusal(url: str, sha256: str = RIGHT) -> str:
    """The error of a download, which is one line that says what to do; nothing is left in the cache."""
    with pytest.raises(BadData) as caught:
        fetched("zsre", source(url, sha256))
    message = str(caught.value)
    assert "\n" not in message and message.endswith(
        "get it from https://here.example (licence: MIT) and write zsre:PATH"
    )
    assert not [path for path in cache_root().rglob("*") if path.is_file()]
    return message


def test_a_file_is_downloaded_once(server, capsys):
    folder, url = server
    (folder / "zsre.json").write_text(TEXT)
    published = source(f"{url}/zsre.json")
    path = fetched("zsre", published)
    assert path.read_text() == TEXT and path == cache_root() / "datasets" / "zsre" / "zsre.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert capsys.readouterr().err == f"downloading {url}/zsre.json (licence: MIT)\n"  # no progress bar: not a terminal
    (folder / "zsre.json").unlink()
    assert fetched("zsre", published) == located("zsre", "", published).path == path
    assert capsys.readouterr().err == ""


def test_another_file_than_the_published_one_is_refused(server):
    folder, url = server
    (folder / "zsre.json").write_text("[]")
    got = hashlib.sha256(b"[]").hexdigest()
    message = refusal(f"{url}/zsre.json")
    assert "zsre.json" in message and f"expected {RIGHT} but got {got}" in message


def test_a_connection_that_breaks_leaves_nothing(server):
    folder, url = server
    (folder / "cut.json").write_text(TEXT)
    assert "cannot be downloaded" in refusal(f"{url}/cut.json")


def test_no_such_file_and_no_server(server):
    _, url = server
    assert "404" in refusal(f"{url}/none.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "refused" in refusal(f"http://127.0.0.1:{port}/zsre.json")


def test_a_partial_file_in_the_cache_is_replaced(server, monkeypatch):
    folder, url = server
    (folder / "zsre.json").write_text(TEXT)
    path = cache_root() / "datasets" / "zsre" / "zsre.json"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT[:50])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadData, match=r"not whole or another one \(.*zsre.json\) and HF_HUB_OFFLINE is set"):
        fetched("zsre", source(f"{url}/zsre.json"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert fetched("zsre", source(f"{url}/zsre.json")).read_text() == TEXT


def test_what_can_be_downloaded_has_a_checksum():
    for sha256 in ("", "0" * 63, "X" * 64):
        with pytest.raises(ValueError, match="go together"):
            source("https://here.example/zsre.json", sha256)
    sources = {name: _module(name).SOURCE for name in forms() if hasattr(_module(name), "SOURCE")}
    assert {name for name, one in sources.items() if one.url} == set(DOWNLOADED)
    unpinned = {name for name in DOWNLOADED if not re.search(r"/[0-9a-f]{40}/", sources[name].url)}
    assert unpinned == {"zsre", "easyedit"}  # the one server has no commits, the hub's is not known


def test_offline_by_choice(tmp_path, monkeypatch):
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in DOWNLOADED:
        with pytest.raises(BadData, match=f"HF_HUB_OFFLINE is set; get it from https://.* and write {name}:PATH"):
            build_cases(name, "fact")


def test_every_form_without_a_file_says_how_to_give_one(tmp_path, monkeypatch):
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path))
    for name in forms():
        with pytest.raises((BadData, BadRequest), match=f"{name}:PATH"):
            build_cases(name, "fact")
