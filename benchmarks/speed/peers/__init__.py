"""Other people's editors, run in a process and an interpreter of their own, on the same texts and covariances as ours.

EASYEDIT_HOME names a checkout of EasyEdit, EASYEDIT_PYTHON the interpreter that has what its ROME and MEMIT import
(torch, transformers, numpy, PyYAML, tqdm); by default the one that runs this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from editing.delta import Delta, LowRank
from editing.errors import BadData, BadRequest
from editing.methods import Method
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from editing.text import EditRequest

SCRIPT = Path(__file__).with_name("easyedit.py")
METHODS = {"rome": "ROME", "memit": "MEMIT"}
NORMS = (
    "model.norm",
    "transformer.ln_f",
    "gpt_neox.final_layer_norm",
    "model.final_layernorm",
    "model.decoder.final_layer_norm",
)


def peer_home() -> Path:
    """The checkout that EASYEDIT_HOME names.

    Raises:
        BadData: it is not set, or names something else.
    """
    named = os.environ.get("EASYEDIT_HOME", "")
    if not named:
        raise BadData("EASYEDIT_HOME: not set; set it to a checkout of https://github.com/zjunlp/EasyEdit")
    if not (Path(named) / "easyeditor" / "models" / "rome" / "rome_main.py").is_file():
        raise BadData(f"EASYEDIT_HOME={named}: holds no easyeditor/models/rome; name a checkout of EasyEdit")
    return Path(named)


def make_job(
    lm: LanguageModel,
    folder: str | Path,
    method: Method,
    requests: Sequence[EditRequest],
    statistics: ModelStatistics,
    work: str | Path,
    same_prefix: bool = True,
) -> dict[str, Any]:
    """The job that asks the peer for what `method.each(lm, requests, statistics)` gives.

    Args:
        folder: the transformers folder that `lm` was loaded from.
        work: a folder for the covariances of `statistics`, which the peer reads; nothing is written for "identity".
        same_prefix: put the tokens of `lm.prefix_ids` before every text there too, as their code does not by itself.

    Raises:
        BadRequest: a method or site that the peer has not, a request of several prompts, requests at different layers.
    """
    if method.name not in METHODS or method.site != "mlp":
        raise BadRequest(f"method {method.name} at site {method.site}: the peer runs {', '.join(METHODS)} at site mlp")
    places = {(method.placement(lm, r).layers, method.placement(lm, r).lookup) for r in requests}
    several = next((r.id for r in requests if len(r.prompts) != 1), None)
    if several is not None or len(places) != 1:
        raise BadRequest(
            f"request {several!r} has several prompts; the peer takes one"
            if several is not None
            else "requests at different layers or lookups, or none; give the peer those of one"
        )
    layers, lookup = places.pop()
    sites = [lm.sites("mlp")[layer] for layer in layers]
    settings = method.settings()
    lengths = {5: settings["short_prefixes"], 10: settings["long_prefixes"]} if method.name == "rome" else {}
    rewrite, block = (_template(p, layers[0]) for p in (sites[0].path, lm.layout.blocks[layers[0]]))
    names = {name for name, _ in lm.module.named_modules()}
    norm = next((name for name in NORMS if name in names), None)
    if norm is None and method.name == "memit":
        raise BadRequest(
            f"{lm.name}: its last norm has none of the names {', '.join(NORMS)}; the peer's MEMIT needs it"
        )
    covariances = None
    if statistics.corpus != "identity":
        statistics.prepare(sites)
        covariances = {site.path: str(Path(work) / f"{site.path}.safetensors") for site in sites}
        for site in sites:
            save_file({"covariance": statistics.covariance(site).matrix.contiguous()}, covariances[site.path])
    keys = ("steps", "lr", "kl", "weight_decay", "clamp")
    return {
        "model": str(folder),
        "method": METHODS[method.name],
        "layers": list(layers),
        "lookup": lookup,
        **{key: settings[key] for key in keys},
        "covariance_weight": settings.get("covariance_weight"),
        "rewrite_module": rewrite,
        "block": block,
        # what ROME adds its vector to: the module above the down projection
        "mlp": rewrite.rpartition(".")[0],
        "norm": norm or "",
        "prefixes": list(statistics.prefixes(lengths or {10: settings["prefixes"]})),
        "prefix_ids": list(lm.prefix_ids) if same_prefix else [],
        "covariances": covariances,
        "ridge": statistics.ridge,
        "threads": 1,
        "requests": [
            {"id": r.id, "prompt": r.prompts[0], "subject": r.subject, "target_new": r.targets[0]} for r in requests
        ],
    }


def run_peer(job: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
    """Independent single edits by EasyEdit's code, in a separate process.

    Args:
        job: as `make_job` makes it. "prefixes" None lets the peer draw its own texts, "covariances" None is the
            identity.
        timeout: seconds after which it is given up; None waits.

    Returns:
        "requests": per request id, cpu_seconds and wall_seconds of the edit alone, weights, restored (bit for bit);
        "deltas": one `Delta` per request, in the same order; "prepare_cpu_seconds"; "contexts"; "versions".

    Raises:
        BadData: EASYEDIT_HOME is missing, or the peer failed, with the last line that it said.
    """
    home = peer_home()
    python = os.environ.get("EASYEDIT_PYTHON") or sys.executable
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / name) for name in ("job.json", "result.json", "tensors.safetensors")}
        Path(paths["job.json"]).write_text(
            json.dumps({**job, "tensors": paths["tensors.safetensors"]}), encoding="utf-8"
        )
        threads = str(job["threads"])
        surroundings = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
        try:
            done = subprocess.run(
                [python, str(SCRIPT), paths["job.json"], paths["result.json"]],
                env=surroundings | {"EASYEDIT_HOME": str(home)},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BadData(f"EASYEDIT_PYTHON={python}: {error}; name an interpreter that can run EasyEdit") from error
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
            raise BadData(f"EasyEdit in {home}, run by {python}, failed: {said}; correct its installation or the job")
        result = json.loads(Path(paths["result.json"]).read_text(encoding="utf-8"))
        tensors = load_file(paths["tensors.safetensors"])
    return result | {"deltas": [_delta(i, record, tensors, job) for i, record in enumerate(result["requests"])]}


def _delta(i: int, record: dict, tensors: dict, job: Mapping[str, Any]) -> Delta:
    factors = {w: LowRank(tensors[f"{i}.{w}.left"], tensors[f"{i}.{w}.right"]) for w in record["weights"]}
    return Delta(factors, {"method": f"easyedit {job['method']}", "request": job["requests"][i]})


def _template(path: str, layer: int) -> str:
    """`path` with `{}` for the block number."""
    return ".".join("{}" if part == str(layer) else part for part in path.split("."))
