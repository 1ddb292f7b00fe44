"""`ladder fetch` against a hub on this machine: whole, pinned, gated, cut and gone on with, damaged; and the estimate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from benchmarks.ladders.fetch import EDITS, METHODS, format_needs, hours_of, needs
from benchmarks.ladders.ladder import ladder_names, load_ladder
from tests.benchmarks.tiny import tiny_model
from tests.editing.references.hub_server import SHA, TOKEN, Repository, running_hub

CHUNK = 10 << 20
ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import sys
from benchmarks.ladders.fetch import fetch
print("failed:", fetch(sys.argv[1], tuple(sys.argv[2:])))
"""


def fetched(home: Path, address: str, ladder: Path, *rungs: str, token: str = "") -> list[str]:
    """What a fresh process prints: the hub's address is read where its library loads."""
    unset = ("HF_TOKEN", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy")
    kept = {key: value for key, value in os.environ.items() if key not in unset}
    more = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT)}
    more |= {"HF_TOKEN": token} if token else {}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ladder), *rungs],
        env=kept | more,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small model as it lies on a hub."""
    folder = tmp_path_factory.mktemp("files")
    lm = tiny_model(["The cat sat on the mat."])
    lm.module.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rung(name: str, model: str, **more: object) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in more.items()]
    return "\n".join(["[[rung]]", f'name = "{name}"', f'model = "{model}"', *lines]) + "\n"


def test_the_whole_path_of_a_download(files: dict[str, bytes], tmp_path: Path) -> None:
    ladder = tmp_path / "local.toml"
    ladder.write_text(
        rung("whole", "me/whole") + rung("pinned", f"me/whole@{SHA}") + rung("gated", "me/gated") + rung("cut", "me/cut")
        + rung("wrong", "me/wrong") + rung("gone", "me/gone") + rung("branch", "me/whole@step9")
        + rung("pickled", "me/pickled") + rung("grown", "grown:gpt2-1x64") + rung("half", "me/whole#bfloat16")
        + rung("half-pinned", f"me/whole@{SHA}#bfloat16")
    )  # fmt: skip
    # The library writes, and resumes at, whole pieces of CHUNK bytes.
    large = files | {"model.safetensors": save({"extra": torch.zeros(24 << 18)}, {"format": "pt"})}
    pickled = {name: data for name, data in files.items() if name != "model.safetensors"} | {"pytorch_model.bin": b"x"}
    with running_hub(
        whole=Repository(files), gated=Repository(files, gated=True), cut=Repository(large, cut=CHUNK + (5 << 20)),
        wrong=Repository(files, wrong=True), pickled=Repository(pickled),
    ) as hub:  # fmt: skip
        lines = fetched(tmp_path / "home", hub.address, ladder)
        text = "\n".join(lines)
        assert f"whole: hub me/whole@{SHA}" in text and f'pin it for a study: model = "me/whole@{SHA}"' in text
        assert f"pinned: hub me/whole@{SHA}" in text
        assert lines[next(i for i, line in enumerate(lines) if line.startswith("half-pinned: ")) + 1] == "failed: 5"
        assert f'model = "me/whole@{SHA}#bfloat16"' in text
        assert "gated: model me/gated: gated; accept its terms on the hub's page of me/gated" in text
        assert "wrong: model me/wrong: model.safetensors is damaged (sha256 differs)" in text
        assert "gone: model me/gone: the hub has no such model" in text
        assert "branch: model me/whole@step9: the hub has no revision 'step9' of it" in text
        assert "pickled: model me/pickled: the hub has no safetensors of it" in text
        assert "grown: trained here" in text
        weights = [request for request in hub.requests if request[1] == f"/me/whole/resolve/{SHA}/model.safetensors"]
        assert [method for method, _, _ in weights].count("GET") == 1, "what is in the cache is not fetched twice"
        # The cut download is gone on with where it broke off.
        ranges = [
            part for method, path, part in hub.requests if method == "GET" and path.startswith("/me/cut/") and part
        ]
        again = fetched(tmp_path / "home", hub.address, ladder, "cut", "gated", token=TOKEN)
        assert "failed: 0" in again and any(line.startswith("gated: hub me/gated@") for line in again), again
        ranges += [
            part for method, path, part in hub.requests if method == "GET" and path.startswith("/me/cut/") and part
        ]
        assert f"bytes={CHUNK}-" in ranges, ranges


def test_the_estimate_by_hand() -> None:
    per_edit = 4 * 25 * 21 * 12 + 2 * 40 * 60 * 6
    assert hours_of(10**9) == pytest.approx((EDITS * METHODS * per_edit + 40_000) * 1e9 / 1e14 / 3600)
    found = needs("polypythias", ("pythia-410m", "pythia-410m-s9"))
    assert [need.parameters for need in found] == [405_334_016] * 2
    assert found[0].gigabytes == pytest.approx(0.810668032) and found[1].checked
    assert "pythia-410m-s9" in format_needs("polypythias", found) and "hours on one H100" in format_needs(
        "polypythias", found
    )


def test_ladders_to_run_elsewhere() -> None:
    assert {"polypythias", "olmo3", "smollm3", "grown-pairs"} <= set(ladder_names())
    seeds = load_ladder("polypythias").rungs
    assert len(seeds) == 50 and {r.model for r in seeds if r.name.startswith("pythia-14m")} == {
        "EleutherAI/pythia-14m", *(f"EleutherAI/pythia-14m-seed{n}" for n in range(1, 10))
    }  # fmt: skip
    for name in ("polypythias", "olmo3", "smollm3", "olmo2", "qwen3", "gemma3", "pythia-160m-steps"):
        assert all(
            need.checked or "not checked" in r.checked
            for need, r in zip(needs(name), load_ladder(name).rungs, strict=True)
        )
