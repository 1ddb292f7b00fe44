"""ROME and MEMIT by EasyEdit's own code: a separate script, run as `python easyedit.py JOB.json RESULT.json`.

It imports nothing of this project, runs under the peer's interpreter and finds the checkout in EASYEDIT_HOME. Only the
files of the
two methods are imported: the packages above them are made by hand, because their `__init__` import every method there
with all its requirements; `datasets` and `matplotlib` are stood in for where they are missing (the one loads Wikipedia,
which is never used here, the other is imported and not used).

What is given instead of their own: context texts and covariances, put where their code caches its own. The keys of the
job and of the result are in `benchmarks/speed/peers/__init__.py`. Only the edit itself is timed. Their code restores
the weights; that is checked.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
import types
from pathlib import Path
from typing import Any


def main(job_path: str, result_path: str) -> None:
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    home = Path(os.environ["EASYEDIT_HOME"])
    stand_in(home)
    import torch
    import transformers
    from safetensors.torch import save_file

    torch.set_num_threads(job["threads"])
    model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()
    tokenizer = open_tokenizer(transformers, job)
    name = job["method"].lower()
    package = f"easyeditor.models.{name}"
    entry = importlib.import_module(f"{package}.{name}_main")
    began = time.process_time()
    hparams = settings(job, model, importlib.import_module(f"{package}.{name}_hparams"), head_name(model))
    give_covariances(job, model, entry, importlib.import_module(f"{package}.compute_u") if name == "rome" else None)
    contexts = give_contexts(job, model, tokenizer, entry, hparams)
    ready = time.process_time() - began

    touched = {f"{job['rewrite_module'].format(layer)}.weight" for layer in job["layers"]}
    before = {key: model.get_parameter(key).detach().clone() for key in touched}
    records, tensors = [], {}
    for i, request in enumerate(job["requests"]):
        record = {"case_id": i, **{key: request[key] for key in ("prompt", "subject", "target_new")}}
        cpu, wall = time.process_time(), time.perf_counter()
        if name == "rome":
            found = entry.execute_rome(model, tokenizer, record, hparams)
            changes = {key: (value[:, None], u[:, None]) for key, (u, value) in found.items()}
        else:
            found = entry.execute_memit(model, tokenizer, [record], hparams)
            changes = {key: (residual, adjusted) for key, (adjusted, residual) in found.items()}
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        for key, (left, right) in changes.items():
            tensors[f"{i}.{key}.left"] = left.detach().float().contiguous().clone()
            tensors[f"{i}.{key}.right"] = right.detach().float().contiguous().clone()
        restored = all(torch.equal(model.get_parameter(key), value) for key, value in before.items())
        records.append(
            {
                "id": request.get("id", str(i)),
                "cpu_seconds": cpu,
                "wall_seconds": wall,
                "weights": sorted(changes),
                "restored": restored,
            }
        )
    save_file(tensors, job["tensors"])
    result = {
        "requests": records,
        "prepare_cpu_seconds": ready,
        "contexts": contexts,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")


def stand_in(home: Path) -> None:
    """Make `easyeditor.models.rome` and `.memit` importable: without siblings, with stubs for uncalled modules."""
    source = home / "easyeditor"
    if not (source / "models" / "rome" / "rome_main.py").is_file():
        sys.exit(f"EASYEDIT_HOME={home}: holds no easyeditor/models/rome; name a checkout of EasyEdit")
    for parts in ((), ("models",), ("util",)):
        module = types.ModuleType(".".join(("easyeditor", *parts)))
        module.__path__ = [str(source.joinpath(*parts))]
        sys.modules[module.__name__] = module
    for missing, attributes in (("datasets", ("load_dataset",)), ("matplotlib.style", ("context",))):
        root = missing.partition(".")[0]
        if importlib.util.find_spec(root) is None:
            module = types.ModuleType(missing)
            for attribute in attributes:
                setattr(module, attribute, never)
            sys.modules[missing] = module
            sys.modules.setdefault(root, types.ModuleType(root))


def never(*arguments: object, **settings: object) -> None:
    """In place of functions of packages that are not installed; calling one would be another experiment."""
    raise RuntimeError("a package that was stood in for is needed after all")


def open_tokenizer(transformers: Any, job: dict) -> Any:
    """The model's tokenizer as their editor sets it up for these methods, with the job's tokens before every text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"])
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    head = job.get("prefix_ids")
    if head:
        from tokenizers.processors import TemplateProcessing

        names = [tokenizer.convert_ids_to_tokens(i) for i in head]
        pieces = list(zip(names, head, strict=True))
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=" ".join([*(f"{n}:0" for n in names), "$A:0"]), special_tokens=list(dict.fromkeys(pieces))
        )
        tokens = tokenizer.encode("a")
        if tokens[: len(head)] != list(head) or tokens[len(head) :] != tokenizer.encode("a", add_special_tokens=False):
            sys.exit(f"{job['model']}: its tokenizer does not put {names} before a text; leave prefix_ids out")
    return tokenizer


def head_name(model: Any) -> str:
    """Name of the module that holds the unembedding, as EasyEdit looks it up: the embedding where they are tied."""
    weight = model.get_output_embeddings().weight
    return next(name for name, value in model.named_parameters() if value is weight).removesuffix(".weight")


def settings(job: dict, model: Any, module: Any, head: str) -> Any:
    """Their dataclass with the job's numbers; device "cpu", the loss read off the last block."""
    values: dict[str, Any] = {
        "alg_name": job["method"],
        "model_name": job["model"],
        "stats_dir": "",
        "device": "cpu",
        "layers": list(job["layers"]),
        "fact_token": job["lookup"],
        "v_num_grad_steps": job["steps"],
        "v_lr": job["lr"],
        "v_loss_layer": model.config.get_text_config().num_hidden_layers - 1,
        "v_weight_decay": job["weight_decay"],
        "clamp_norm_factor": job["clamp"],
        "kl_factor": job["kl"],
        "mom2_adjustment": job.get("covariances") is not None,
        "rewrite_module_tmp": job["rewrite_module"],
        "layer_module_tmp": job["block"],
        "mlp_module_tmp": job["mlp"],
        "attn_module_tmp": "",
        "ln_f_module": job["norm"],
        "lm_head_module": head,
        "mom2_dataset": "",
        "mom2_n_samples": 0,
        "mom2_dtype": "float32",
    }
    if job["method"] == "ROME":
        values["context_template_length_params"] = [[5, 10], [10, 10]]
        return module.ROMEHyperParams(**values)
    values |= {"layer_selection": "all", "mom2_update_weight": job["covariance_weight"]}
    return module.MEMITHyperParams(**values)


def give_covariances(job: dict, model: Any, entry: Any, direction: Any) -> None:
    """Put C (MEMIT) or its inverse (ROME) of every edited map into the cache of EasyEdit; None is the identity.

    The job's ridge is added to the diagonal, as our solves do.
    """
    import torch
    from safetensors.torch import load_file

    known = model.config._name_or_path.replace("/", "_")
    for layer in job["layers"]:
        path = job["rewrite_module"].format(layer)
        if job.get("covariances") is None:
            weight = model.get_parameter(f"{path}.weight")
            width = weight.shape[0] if type(model.get_submodule(path)).__name__ == "Conv1D" else weight.shape[1]
            matrix = torch.eye(width, dtype=torch.float64)
        else:
            matrix = load_file(job["covariances"][path])["covariance"].double()
        matrix = matrix + job["ridge"] * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=torch.float64)
        if direction is None:
            entry.COV_CACHE[known, path] = matrix.float()
        else:
            direction.inv_mom2_cache[known, path] = torch.inverse(matrix).float()


def give_contexts(job: dict, model: Any, tokenizer: Any, entry: Any, hparams: Any) -> Any:
    """The job's texts as their templates, or their own where the job brings none."""
    if job.get("prefixes") is not None:
        templates = [f"{prefix.replace('{', '').replace('}', '')}. {{}}" for prefix in job["prefixes"]]
        entry.CONTEXT_TEMPLATES_CACHE = ["{}", *templates] if job["method"] == "ROME" else [["{}"], templates]
    elif job["method"] == "ROME":
        entry.get_context_templates(model, tokenizer, hparams.context_template_length_params)
    else:
        entry.get_context_templates(model, tokenizer)
    return entry.CONTEXT_TEMPLATES_CACHE


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
