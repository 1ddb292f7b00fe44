"""The weight hash of a model reference, kept on disk: what is finished can be named without loading the model.

It is trusted while the files of the model have the paths, sizes and times of change that they had when it was loaded.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from benchmarks.models import parse, resolve
from benchmarks.provenance import versions
from editing.cache import cache_root
from editing.errors import UserError
from editing.files import atomic_file


def known_hash(reference: str) -> str:
    """The weight hash of a model that was loaded before and whose files are as they were; empty where that is not
    so."""
    try:
        record = json.loads(_record(reference).read_text(encoding="utf-8"))
        files = [Path(path) for path, _, _ in record["files"]]
        same = record["files"] == _identities(files) and record["versions"] == versions()
        return str(record["hash"]) if same and files else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def remember_hash(reference: str, weight_hash: str) -> None:
    """Keep the weight hash of a model that has just been loaded. A cache that cannot be written only costs time
    later."""
    try:
        files = _files(reference)
        record = {"reference": reference, "hash": weight_hash, "versions": versions(), "files": _identities(files)}
        path = _record(reference)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temp:
            temp.write_text(json.dumps(record), encoding="utf-8")
    except (OSError, UserError):
        return


def _record(reference: str) -> Path:
    where = f"{reference}\n{Path.cwd()}"  # a relative folder is another model elsewhere
    return cache_root() / "hashes" / f"{hashlib.sha256(where.encode()).hexdigest()[:32]}.json"


def _files(reference: str) -> list[Path]:
    """All that decides which weights a reference means: the folder that is loaded, and what it was found by."""
    parsed = parse(reference)
    folder = resolve(reference, progress=False).folder.resolve()
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    if parsed.kind == "gguf":
        files.append(Path(parsed.name).expanduser().resolve())
    elif parsed.kind == "package":
        from editing.references import locate

        files += [path.resolve() for path in locate(parsed.name).paths]
    elif parsed.kind == "hub":  # which snapshot a branch means
        files += sorted(path for path in (folder.parent.parent / "refs").rglob("*") if path.is_file())
    return files


def _identities(files: list[Path]) -> list[list]:
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
