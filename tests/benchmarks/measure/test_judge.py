"""The judge of free text: a server that speaks OpenAI's protocol, and a model; refusals."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.measure.judge import format_judged, judge_run, judged
from editing.errors import BadModel, BadRequest
from tests.valley.build import edit, frame, probes

TEXTS = [("Paris is in", " France, I think.", "France"), ("Paris is in", " Spain.", "France")]


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions" and request["temperature"] == 0
        question = request["messages"][0]["content"]
        word = "Perhaps" if request["model"] == "vague" else "Yes." if 'on: " France' in question else "no"
        body = json.dumps({"choices": [{"message": {"content": word}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def address():
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_a_server_judges(address: str) -> None:
    assert judged(f"{address}#m", TEXTS) == [True, False]
    with pytest.raises(BadModel, match="replied 'Perhaps' instead of yes or no"):
        judged(f"{address}#vague", TEXTS)
    with pytest.raises(BadRequest, match="no model; write the address"):
        judged(address, TEXTS)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(BadModel, match="no usable reply"):
        judged("http://127.0.0.1:9/v1#m", TEXTS)


def test_a_run_is_judged(address: str, tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    texts = {"text_after": " France, yes", "exact_after": 1.0, "answer": "France", "prompt": "Paris is in"}
    parts = [edit(case, probes(efficacy=[1.0], neighbour=[1.0]), **texts) for case in ("a", "b", "c")]
    frame(*parts).to_parquet(tmp_path / "cells" / "one.parquet")
    table = judge_run(tmp_path, f"{address}#m", limit=2)
    assert list(table["case"]) == ["a", "b"] and table["judged"].all() and set(table["probe"]) == {"efficacy"}
    assert "agree" in format_judged(table)


def test_the_table_by_hand() -> None:
    table = pd.DataFrame(
        {"rung": "a", "method": "rome", "exact_after": [1.0, 0.0], "judged": [True, True], "judge": "j"}
    )
    assert format_judged(table).splitlines()[1].split() == ["a", "rome", "2", "1.00", "0.50", "0.50"]
