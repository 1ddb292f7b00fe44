"""Published files: fetched once from a real server on this machine, checked, and what is said when that cannot be."""

from __future__ import annotations

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.datasets import build_cases, forms
from benchmarks.datasets.reading.sources import Source, fetched, located
from editing.errors import BadData, BadRequest
from tests.benchmarks import wild


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "www").mkdir()
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "www")) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield tmp_path / "www", f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_a_file_is_fetched_once_and_its_checksum_compared(server, capsys):
    folder, url = server
    text = json.dumps(wild.zsre())
    (folder / "zsre.json").write_text(text)
    right = hashlib.sha256(text.encode()).hexdigest()
    source = Source("here", "MIT", f"{url}/zsre.json", sha256=right)
    path = fetched("zsre", source)
    assert path.read_text() == text and "fetching" in capsys.readouterr().err
    (folder / "zsre.json").unlink()
    assert fetched("zsre", source) == located("zsre", "", source).path == path and capsys.readouterr().err == ""
    with pytest.raises(BadData, match="sha256 differs"):
        fetched("zsre", Source("here", "MIT", f"{url}/zsre.json", sha256="0" * 64))


def test_what_cannot_be_fetched_is_placed_by_hand(server):
    _, url = server
    with pytest.raises(
        BadData, match=r"cannot be fetched \(.*404.*; get it from here .* and write zsre:PATH"
    ) as caught:
        fetched("zsre", Source("here", "MIT", f"{url}/none.json"))
    assert "\n" not in str(caught.value)


def test_offline_by_choice(tmp_path, monkeypatch):
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("counterfact", "zsre", "mquake", "ripple_edits", "easyedit"):
        with pytest.raises(BadData, match=f"HF_HUB_OFFLINE is set; get it from https://.* and write {name}:PATH"):
            build_cases(name, "fact")


def test_every_form_without_a_file_says_how_to_give_one(tmp_path, monkeypatch):
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path))
    for name in forms():
        with pytest.raises((BadData, BadRequest), match=f"{name}:PATH"):
            build_cases(name, "fact")
