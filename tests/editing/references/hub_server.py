"""A hub on this machine: enough of its protocol for huggingface_hub to look up, download (also in parts) and upload.

What a repository holds is a dictionary; how it behaves is set by the test: gated, cut downloads, other bytes than stated.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHA = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_local"


@dataclass
class Repository:
    """files: name -> bytes; gated: a token is needed; cut: a download of a weight file breaks off after so many bytes,
    once; wrong: the weights come with other bytes than their stated hash; sha: of the only commit; branches."""

    files: dict[str, bytes]
    gated: bool = False
    cut: int = 0
    wrong: bool = False
    sha: str = SHA
    revisions: tuple[str, ...] = ("main",)


@dataclass
class Hub:
    """A running hub: its address, its repositories, and what was requested of it (method, path, range)."""

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)


@contextmanager
def running_hub(**repositories: Repository) -> Iterator[Hub]:
    """A hub whose repositories are named `me/NAME`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}", {f"me/{k}": v for k, v in repositories.items()})
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Quiet."""

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined]

    def _note(self) -> str:
        path = self.path.partition("?")[0]
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        return path

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.get("content_length", str(len(body))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: object, status: int = 200, **headers: str) -> None:
        self._send(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def _authorised(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self._note()
        parts = path.strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        repository = self.hub.repositories.get(name)
        if repository is None:
            return self._json({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        revision = parts[5] if parts[0] == "api" and len(parts) > 5 else parts[3] if parts[0] != "api" else "main"
        if revision not in (*repository.revisions, repository.sha):
            return self._json({"error": "Revision not found"}, 404, X_Error_Code="RevisionNotFound")
        if parts[0] == "api":
            tree = len(parts) > 4 and parts[4] == "tree"
            return self._json(self._tree(repository) if tree else self._info(name, repository))
        if repository.gated and not self._authorised():
            return self._json({"error": "gated"}, 403, X_Error_Code="GatedRepo")
        return self._file(repository, "/".join(parts[4:]))

    def _info(self, name: str, repository: Repository) -> dict:
        siblings = [{"rfilename": file} for file in repository.files]
        return {"id": name, "modelId": name, "sha": repository.sha, "siblings": siblings, "gated": repository.gated}

    def _tree(self, repository: Repository) -> list[dict]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in repository.files.items()
        ]

    def _file(self, repository: Repository, name: str) -> None:
        if name not in repository.files:
            return self._json({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound")
        data = repository.files[name]
        large = name.endswith(".safetensors")
        etag = hashlib.sha256(data).hexdigest() if large else hashlib.sha1(data).hexdigest()
        headers = {"ETag": f'"{etag}"', "X_Repo_Commit": repository.sha, "Accept_Ranges": "bytes"}
        if large:
            headers |= {"X_Linked_Etag": f'"{etag}"', "X_Linked_Size": str(len(data))}
        if large and repository.wrong:
            data = data[:-1] + bytes([data[-1] ^ 1])
        begin = int(self.headers["Range"].split("=")[1].split("-")[0]) if "Range" in self.headers else 0
        if begin:
            headers["Content_Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        if self.command == "GET" and large and repository.cut:
            cut, repository.cut = repository.cut, 0
            self.send_response(200)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:cut])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return None
        return self._send(206 if begin else 200, data[begin:], **headers)

    def do_POST(self) -> None:
        path = self._note()
        body = (
            self.rfile.read(int(self.headers.get("Content-Length", 0) or 0))
            if "Content-Length" in self.headers
            else self._chunked()
        )
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if not self._authorised():
            return self._json({"error": "Invalid user token."}, 401)
        if path == "/api/repos/create":
            request = json.loads(body)
            name = f"{request.get('organization', 'me')}/{request['name']}"
            self.hub.repositories.setdefault(name, Repository({}))
            return self._json({"url": f"{self.hub.address}/{name}", "private": request.get("private")})
        name = "/".join(path.strip("/").split("/")[2:4])
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            return self._json(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.hub.repositories[name].files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        return self._json({"success": True, "commitOid": SHA, "commitUrl": f"{self.hub.address}/{name}/commit/{SHA}"})

    def _chunked(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data
