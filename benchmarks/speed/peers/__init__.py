"""EasyEdit's ROME and MEMIT with the settings, texts and covariances of ours, timed in a process of its own.

EASYEDIT_HOME names a checkout of EasyEdit, EASYEDIT_PYTHON the interpreter that has what its ROME and MEMIT import
(torch, transformers, numpy, PyYAML, tqdm); by default the one that runs this.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from editing.delta import Delta
from editing.errors import BadData, BadRequest
from editing.methods import Method, changes_in, checkout, module_names, run_easyedit
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from editing.text import EditRequest

METHODS = {"rome": "ROME", "memit": "MEMIT"}


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
    names = module_names(lm)
    if not names["ln_f_module"] and method.name == "memit":
        raise BadRequest(f"{lm.name}: its last norm has no usual name; the peer's MEMIT needs it")
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
        "rewrite_module": names["rewrite_module_tmp"],
        "block": names["layer_module_tmp"],
        # what ROME adds its vector to: the module above the down projection
        "mlp": names["mlp_module_tmp"],
        "norm": names["ln_f_module"],
        "head": names["lm_head_module"],
        "blocks": lm.n_layers,
        "prefixes": list(statistics.prefixes(lengths or {10: settings["prefixes"]})),
        "prefix_ids": list(lm.prefix_ids) if same_prefix else [],
        "covariances": covariances,
        "ridge": statistics.ridge,
        "threads": 1,
        "requests": [
            {"id": r.id, "prompt": r.prompts[0], "subject": r.subject, "target_new": r.targets[0]} for r in requests
        ],
    }


def run_peer(job: Mapping[str, Any]) -> dict[str, Any]:
    """Independent single edits by EasyEdit's code, in a process of its own.

    Args:
        job: as `make_job` makes it. "prefixes" None lets the peer draw its own texts, "covariances" None is the
            identity.

    Returns:
        "requests": per request id, cpu_seconds and wall_seconds of the edit alone, weights, restored (bit for bit);
        "deltas": one `Delta` per request, in the same order; "prepare_cpu_seconds"; "contexts"; "versions".

    Raises:
        BadData: EASYEDIT_HOME is missing, or the peer failed, with the last line that it wrote.
    """
    checkout()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = ("model", "prefixes", "prefix_ids", "covariances", "ridge", "threads")
        whole = {key: job[key] for key in kept} | {
            "editor": job["method"],
            "device": "cpu",
            "seed": 0,
            "hparams": _hparams(job),
            "groups": [[{"case_id": i} | dict(request)] for i, request in enumerate(job["requests"])],
        }
        result = run_easyedit(f"EasyEdit's {job['method']}", whole, folder)
        changes = changes_in(result, folder)
    failed = next((edit["error"] for edit in result["edits"] if edit["error"]), None)
    if failed:
        raise BadData(f"EasyEdit's {job['method']} failed: {failed}; correct its installation or the job")
    records = [
        edit | {"id": request["id"], "weights": sorted(factors)}
        for request, edit, factors in zip(job["requests"], result["edits"], changes, strict=True)
    ]
    deltas = [
        Delta(factors, {"method": f"easyedit {job['method']}", "request": request})
        for request, factors in zip(job["requests"], changes, strict=True)
    ]
    return result | {"requests": records, "deltas": deltas}


def _hparams(job: Mapping[str, Any]) -> dict[str, Any]:
    """EasyEdit's settings with the job's numbers; device "cpu", the loss read off the last block."""
    values: dict[str, Any] = {
        "alg_name": job["method"],
        "model_name": job["model"],
        "stats_dir": "",
        "device": "cpu",
        "layers": list(job["layers"]),
        "fact_token": job["lookup"],
        "v_num_grad_steps": job["steps"],
        "v_lr": job["lr"],
        "v_loss_layer": job["blocks"] - 1,
        "v_weight_decay": job["weight_decay"],
        "clamp_norm_factor": job["clamp"],
        "kl_factor": job["kl"],
        "mom2_adjustment": job["covariances"] is not None,
        "rewrite_module_tmp": job["rewrite_module"],
        "layer_module_tmp": job["block"],
        "mlp_module_tmp": job["mlp"],
        "attn_module_tmp": "",
        "ln_f_module": job["norm"],
        "lm_head_module": job["head"],
        "mom2_dataset": "",
        "mom2_n_samples": 0,
        "mom2_dtype": "float32",
    }
    if job["method"] == "ROME":
        return values | {"context_template_length_params": [[5, 10], [10, 10]]}
    return values | {"layer_selection": "all", "mom2_update_weight": job["covariance_weight"]}
