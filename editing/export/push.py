"""A folder onto a hub, with the user's own token: the one that `hf auth login` stored, or HF_TOKEN."""

from __future__ import annotations

import re
from pathlib import Path

from editing.errors import BadData, BadModel, BadRequest

# One of these says that the folder is an export; anything else is not published by mistake.
MARKS = ("adapter_config.json", "config.json", "change.json", "delta.json")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def push(folder: Path, name: str, *, private: bool = True, message: str = "Upload edit") -> str:
    """Create the repository OWNER/NAME if there is none, and upload every file of `folder` in one commit.

    Returns:
        The address of the commit.

    Raises:
        BadRequest: a name of another form, no token, HF_HUB_OFFLINE set.
        BadData: the folder is no export.
        BadModel: the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi, constants, get_token

    if not NAME.fullmatch(name):
        raise BadRequest(f"repository {name!r:.80}: write OWNER/NAME, as on the hub")
    if not folder.is_dir() or not any((folder / mark).is_file() for mark in MARKS):
        raise BadData(f"{folder}: no export in it (none of {', '.join(MARKS)}); name a folder that `export` wrote")
    if constants.is_offline_mode():
        raise BadRequest("HF_HUB_OFFLINE is set; unset it to upload")
    if not get_token():
        raise BadRequest("no token of a hub; log in with `hf auth login`, or set HF_TOKEN to one that may write")
    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
    except Exception as error:  # the http library's own errors have no common parent across its versions
        reason = str(error).strip().splitlines()[:1] or [""]
        raise BadModel(
            f"{name}: the hub did not take it ({type(error).__name__}: {reason[0]:.160}); check name, token and rights"
        ) from error
    return str(done.commit_url)
