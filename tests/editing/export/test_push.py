"""`export push` against a hub on this machine: what arrives, and one line for what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.editing.references.hub_server import TOKEN, Repository, running_hub

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import sys
from pathlib import Path
from editing.errors import UserError
from editing.export import push
for folder, name in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        print(push(Path(folder), name))
    except UserError as error:
        print("refused:", error)
"""


def pushed(home: Path, address: str, token: str, *words: str) -> list[str]:
    """What a fresh process prints, one line per folder and name: the hub's address is read where its library loads."""
    unset = ("HF_TOKEN", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "http_proxy")
    kept = {key: value for key, value in os.environ.items() if key not in unset}
    more = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], env=kept | more | ({"HF_TOKEN": token} if token else {}),
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "adapter"
    made.mkdir()
    (made / "adapter_config.json").write_text("{}")
    (made / "adapter_model.safetensors").write_bytes(bytes(range(256)))
    (made / "README.md").write_text("---\nlibrary_name: peft\n---\n# One edit\n")
    return made


def test_a_folder_arrives_whole_and_what_is_wrong_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with running_hub(old=Repository({})) as hub:
        words = [str(folder), "me/cheese", str(tmp_path / "empty"), "me/cheese", str(folder), "cheese"]
        address, empty, name = pushed(tmp_path / "home", hub.address, TOKEN, *words)
        assert address == f"{hub.address}/me/cheese/commit/0123456789abcdef0123456789abcdef01234567"
        assert hub.repositories["me/cheese"].files == {p.name: p.read_bytes() for p in folder.iterdir()}
        assert "no export in it" in empty and "write OWNER/NAME" in name
        (refused,) = pushed(tmp_path / "home", hub.address, "hf_other", str(folder), "me/cheese")
        assert refused.startswith("refused: me/cheese: the hub did not take it")
        (refused,) = pushed(tmp_path / "home", hub.address, "", str(folder), "me/cheese")
        assert refused.startswith("refused: no token of a hub; log in with `hf auth login`")
