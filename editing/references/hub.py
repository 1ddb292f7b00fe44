"""Hub ids: the local hub cache first, then one short question to the hub, then the download. A no comes at once.

The cache is huggingface_hub's own (`HF_HOME`, `HF_HUB_CACHE`); `HF_HUB_OFFLINE=1` is honoured.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from editing.errors import BadModel
from editing.references.folder import check_folder, weight_files
from editing.references.gguf import sha256_of

PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
ASK_SECONDS = 6.0


def hub_folder(label: str, model: str, revision: str | None) -> tuple[Path, str]:
    """The snapshot folder of a hub model and its commit; downloads what is not in the local hub cache.

    Raises:
        BadModel: neither cached nor reachable, unknown, gated, pickled weights only, cut or damaged files.
    """
    from huggingface_hub import constants

    cached = _cached(model, revision)
    if cached is None or not _complete(cached):
        if constants.is_offline_mode():
            state = "is only partly in" if cached else "is not in"
            raise BadModel(
                f"{label}: {state} the local hub cache and HF_HUB_OFFLINE is set; unset it once to download, "
                "or write ./FOLDER for a local folder"
            )
        cached = _download(label, model, revision)
    check_folder(label, cached, f"delete {cached.parent.parent} and run again")
    _check_blobs(label, cached)
    return cached, cached.name


def is_cached(model: str, revision: str | None) -> bool:
    """Whether a whole snapshot is in the local hub cache."""
    folder = _cached(model, revision)
    return folder is not None and _complete(folder)


def _cached(model: str, revision: str | None) -> Path | None:
    """The snapshot folder in the local hub cache, whole or not; None when there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        snapshot = snapshot_download(model, revision=revision, local_files_only=True, allow_patterns=PATTERNS)
    except IncompleteSnapshotError as error:
        snapshot = error.snapshot_path
    except LocalEntryNotFoundError:
        return None
    return Path(snapshot)


def _complete(folder: Path) -> bool:
    """Whether configuration and all weight files are there; what is wrong with them is `check_folder`'s to say."""
    if not (folder / "config.json").is_file():
        return False
    if any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors*")):
        return True
    try:
        weight_files("", folder)
    except BadModel:
        return False
    return True


def _download(label: str, model: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub import errors as hub

    try:
        info = within(ASK_SECONDS, lambda: HfApi().model_info(model, revision=revision, timeout=ASK_SECONDS))
    except hub.GatedRepoError as error:
        raise BadModel(_gated(label, model)) from error
    except hub.RevisionNotFoundError as error:
        raise BadModel(f"{label}: the hub has no revision {revision!r} of it; see its branches on the hub") from error
    except hub.RepositoryNotFoundError as error:
        raise BadModel(
            f"{label}: the hub has no such model, or it is private; check the name, or log in with `hf auth login`"
        ) from error
    except Exception as error:  # the http library's own errors have no common parent across its versions
        raise BadModel(
            f"{label}: not in the local hub cache and the hub cannot be reached ({type(error).__name__}); "
            "connect and run again, or write ./FOLDER for a local folder"
        ) from error
    names = [file.rfilename for file in info.siblings or ()]
    if not any(name.endswith(".safetensors") for name in names):
        raise BadModel(f"{label}: the hub has no safetensors of it; choose a model or revision with safetensors")
    try:
        return Path(snapshot_download(model, revision=info.sha or revision, allow_patterns=PATTERNS))
    except hub.GatedRepoError as error:
        raise BadModel(_gated(label, model)) from error
    except Exception as error:
        raise BadModel(f"{label}: the download broke off ({type(error).__name__}); run again to go on") from error


def _gated(label: str, model: str) -> str:
    return f"{label}: gated; accept its terms on the hub's page of {model}, then log in with `hf auth login`"


def _check_blobs(label: str, folder: Path) -> None:
    """Large files in the hub cache are named by their sha256: hold the weights against it."""
    for path in weight_files(label, folder):
        name = path.resolve().name
        if re.fullmatch(r"[0-9a-f]{64}", name) and sha256_of(path) != name:
            raise BadModel(f"{label}: {path.name} is damaged (sha256 differs); delete {path.resolve()} and run again")


def within(seconds: float, ask: Callable[[], Any]) -> Any:
    """What `ask()` returns or raises; TimeoutError after `seconds` (name look-ups know no time limit of their own)."""
    answer: dict[str, Any] = {}

    def work() -> None:
        try:
            answer["value"] = ask()
        except BaseException as error:
            answer["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in answer:
        raise answer["error"]
    if "value" not in answer:
        raise TimeoutError
    return answer["value"]
