"""Edits by EasyEdit's own code: a script, run as `python process.py JOB.json RESULT.json` under its interpreter.

It imports nothing of this project. Which editors there are, it reads in the checkout's `easyeditor/util/alg_dict.py`.
The packages above an editor are made by hand, because their `__init__` imports every editor with all its requirements.

JOB: home, editor, model (a transformers folder), device, hparams (complete), groups (lists of requests; each list is
one edit of the unedited model), prefixes (texts put before prompts, or null: theirs), prefix_ids (tokens put before
every text), covariances (module path -> safetensors file with "covariance"; null: the identity), ridge, seed, threads,
tensors (the file to write). With "check" instead: which editors can be imported.
RESULT: edits (per group: changes {parameter: "low_rank", "dense" or "bias"}, cpu_seconds and wall_seconds of the edit
alone, restored (whether the weights have their old bits again), error), contexts (the texts before prompts, null where
the editor has none), prepare_cpu_seconds (of settings, covariances and contexts), versions; or editors (name -> reason
why it cannot be imported, empty where it can).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import sys
import time
import types
from functools import cache, partial
from pathlib import Path
from typing import Any

RANK = 32  # changes of a weight up to this rank are stored as two factors
EXACT = 1e-5  # relative to the change: what the factors may miss, beside rounding
STOOD_IN = {  # imported by files that are needed, for functions that are not
    "datasets": ("load_dataset", "load_from_disk"),
    "matplotlib.style": ("context",),
    "hydra": (),
}


def main(job_path: str, result_path: str) -> None:
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    home = Path(job["home"])
    make_parents(home)
    result = check(home) if job.get("check") else run(job, home)
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")


def make_parents(home: Path) -> None:
    """Make `easyeditor.models.X` importable without its siblings."""
    for parts in ((), ("models",), ("util",), ("trainer",), ("trainer", "algs")):
        module = types.ModuleType(".".join(("easyeditor", *parts)))
        module.__path__ = [str(home.joinpath("easyeditor", *parts))]
        sys.modules[module.__name__] = module
    for missing, attributes in STOOD_IN.items():
        root = missing.partition(".")[0]
        if importlib.util.find_spec(root) is None:
            module = types.ModuleType(missing)
            for attribute in attributes:
                setattr(module, attribute, never)
            sys.modules[missing] = module
            sys.modules.setdefault(root, types.ModuleType(root))


def never(*arguments: object, **settings: object) -> None:
    """In place of functions of packages that are not installed; calling one would be another experiment."""
    raise RuntimeError("a package that is not installed is needed; install it for EASYEDIT_PYTHON")


def editors(home: Path) -> dict[str, tuple[str, str, str, str]]:
    """Editor -> its package below `easyeditor.models`, the name to import, the method of it ("" for a function), and
    the name of its settings class."""
    tree = ast.parse((home / "easyeditor" / "util" / "alg_dict.py").read_text(encoding="utf-8"))
    packages: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("models."):
            packages.setdefault(node.module.removeprefix("models."), []).extend(a.name for a in node.names)
    owner = {name: package for package, names in packages.items() for name in names}
    table: Any = next(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ALG_DICT"
    )
    found = {}
    for key, value in zip(table.keys, table.values, strict=True):
        if isinstance(value, ast.Name):
            name, method = value.id, ""
        else:  # Executor().apply_to_model
            name, method = value.value.func.id, value.attr
        package = owner[name]
        settings = next((n for n in packages[package] if n.lower().endswith(("hyperparams", "hparams"))), "")
        found[key.value] = (package, name, method, settings)
    return found


def check(home: Path) -> dict[str, Any]:
    reasons = {}
    for name, (package, *_) in editors(home).items():
        try:
            importlib.import_module(f"easyeditor.models.{package}")
            reasons[name] = ""
        except Exception as error:  # whatever it is, the editor cannot be used
            reasons[name] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return {"editors": reasons}


def run(job: dict, home: Path) -> dict[str, Any]:
    import torch
    import transformers
    from safetensors.torch import save_file

    torch.set_num_threads(job["threads"])
    known = {editor.lower(): parts for editor, parts in editors(home).items()}
    if job["editor"].lower() not in known:
        sys.exit(f"no editor {job['editor']}; this checkout has {', '.join(editors(home))}")
    package, name, method, settings = known[job["editor"].lower()]
    module = importlib.import_module(f"easyeditor.models.{package}")
    apply = getattr(module, name)
    apply = getattr(apply(), method) if method else apply
    model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()
    model = model.to(job["device"])
    model.config._name_or_path = job["hparams"]["model_name"]
    tokenizer = open_tokenizer(transformers, job)
    began = time.process_time()
    hparams = make_hparams(getattr(module, settings), job["hparams"])
    give_covariances(package, job, model)
    give_steps(package, hparams)
    contexts = give_contexts(package, job, model, tokenizer, hparams)
    prepared = time.process_time() - began
    original = {name: value.detach().clone() for name, value in model.named_parameters()}
    more = {"reset_cache": True} if "reset_cache" in inspect.signature(apply).parameters else {}
    edits, tensors = [], {}
    for number, group in enumerate(job["groups"]):
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            with torch.random.fork_rng():  # their code draws from the global generator
                torch.manual_seed(job["seed"])
                edited, _ = apply(model, tokenizer, group, hparams, copy=False, keep_original_weight=False, **more)
        except Exception as error:
            edits.append({"error": " ".join(f"{type(error).__name__}: {error}".split())[:400]})
            restore(model, original)
            continue
        spent = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}
        edited = unwrapped(edited)
        if not isinstance(edited, torch.nn.Module) or not hasattr(edited, "named_parameters"):
            edits.append({"error": f"{type(edited).__name__} is no model with other weights"})
            continue
        changes, error = changed(edited, original, f"{number}.", tensors)
        model = edited
        restore(model, original)
        same = all(torch.equal(value, original[name]) for name, value in model.named_parameters() if name in original)
        edits.append({"changes": changes, "restored": same, "error": error} | spent)
    save_file(tensors, job["tensors"])
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"edits": edits, "contexts": contexts, "prepare_cpu_seconds": prepared, "versions": versions}


def unwrapped(edited: Any) -> Any:
    """The model with its adapters merged, and without the mark that it has any, by which the next edit would go on."""
    if not hasattr(edited, "merge_and_unload"):
        return edited
    merged = edited.merge_and_unload()
    vars(merged).pop("peft_config", None)
    return merged


def make_hparams(kind: Any, values: dict) -> Any:
    """Their settings class with `values`; fields that it has not are left out, as their loaders keep such keys."""
    known = {field: value for field, value in values.items() if field in kind.__dataclass_fields__}
    try:
        return kind(**known)
    except TypeError as error:
        sys.exit(f"hparams: {error}; add it to the file")


def open_tokenizer(transformers: Any, job: dict) -> Any:
    """The model's tokenizer as their editor sets it up, with the job's tokens before every text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"])
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    first = job["prefix_ids"]
    if first and tokenizer.encode("a")[: len(first)] != first:
        from tokenizers.processors import TemplateProcessing

        names = [tokenizer.convert_ids_to_tokens(i) for i in first]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=" ".join([*(f"{name}:0" for name in names), "$A:0"]),
            special_tokens=list(dict.fromkeys(zip(names, first, strict=True))),
        )
        text = tokenizer.encode("a")
        if text[: len(first)] != first or text[len(first) :] != tokenizer.encode("a", add_special_tokens=False):
            sys.exit(f"{job['model']}: its tokenizer does not put {names} before a text; leave prefix_ids out")
    return tokenizer


def files_of(package: str) -> list[types.ModuleType]:
    """The imported files of an editor."""
    return [module for name, module in list(sys.modules.items()) if name.startswith(f"easyeditor.models.{package}.")]


def give_covariances(package: str, job: dict, model: Any) -> None:
    """Replace what loads a corpus in every file of the editor: get_cov and get_inv_cov return the job's matrices.

    The job's ridge is added to the diagonal, as our solves do.
    """
    import torch
    from safetensors.torch import load_file

    @cache
    def covariance(path: str) -> Any:
        if job["covariances"] is None:
            module = model.get_submodule(path)
            matrix = torch.eye(module.weight.shape[0 if is_transposed(module) else 1], dtype=torch.float64)
        elif path in job["covariances"]:
            matrix = load_file(job["covariances"][path])["covariance"].double()
        else:
            raise RuntimeError(f"asks for the covariance of {path}, which it was not given")
        return matrix + job["ridge"] * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=torch.float64)

    @cache
    def inverse(path: str) -> Any:
        return torch.inverse(covariance(path)).float().to(job["device"])

    def get_cov(model: Any, tok: Any, layer_name: str, *rest: Any, inv: bool = False, **more: Any) -> Any:
        return inverse(layer_name) if inv else covariance(layer_name).float().to(job["device"])

    def get_inv_cov(model: Any, tok: Any, layer_name: str, *rest: Any, **more: Any) -> Any:
        return inverse(layer_name)

    for module in files_of(package):
        if hasattr(module, "get_cov"):
            vars(module)["get_cov"] = get_cov
        if hasattr(module, "get_inv_cov"):
            vars(module)["get_inv_cov"] = get_inv_cov
            for path in job["covariances"] or ():  # before the edits, whose seconds are counted
                inverse(path)


def give_steps(package: str, hparams: Any) -> None:
    """Tell AdaLoRA its number of steps: current versions of peft refuse it otherwise, and EasyEdit never does. The
    number is for the schedule of ranks, which EasyEdit never runs, so that nothing else depends on it."""
    for module in files_of(package):
        if hasattr(module, "AdaLoraConfig"):
            vars(module)["AdaLoraConfig"] = partial(module.AdaLoraConfig, total_step=hparams.num_steps)


def give_contexts(package: str, job: dict, model: Any, tokenizer: Any, hparams: Any) -> Any:
    """Put the job's texts where the editor caches its own, or let it draw its own; the cache, None without one.

    ROME and R-ROME keep one list, the others one per length.
    """
    owner = next((module for module in files_of(package) if hasattr(module, "CONTEXT_TEMPLATES_CACHE")), None)
    if owner is None:
        return None
    flat = package in ("rome", "r_rome")
    if job["prefixes"] is not None:
        templates = [f"{prefix.replace('{', '').replace('}', '')}. {{}}" for prefix in job["prefixes"]]
        vars(owner)["CONTEXT_TEMPLATES_CACHE"] = ["{}", *templates] if flat else [["{}"], templates]
    elif flat:
        owner.get_context_templates(model, tokenizer, hparams.context_template_length_params)
    elif "length_params" not in inspect.signature(owner.get_context_templates).parameters:
        owner.get_context_templates(model, tokenizer)
    return owner.CONTEXT_TEMPLATES_CACHE


def is_transposed(module: Any) -> bool:
    """Whether a linear map stores its weight as (d_in, d_out)."""
    return type(module).__name__ == "Conv1D"


def changed(edited: Any, original: dict, prefix: str, tensors: dict) -> tuple[dict[str, str], str]:
    """What kind of change each parameter has; the numbers go into `tensors`, as dW of y = W k."""
    import torch

    changes: dict[str, str] = {}
    for name, value in edited.named_parameters():
        if name not in original:
            return {}, f"the edited model has a parameter {name} that the unedited one has not"
        difference = (value.detach().float() - original[name].float()).cpu()
        if not bool((difference != 0).any()):
            continue
        owner = edited.get_submodule(name.rpartition(".")[0])
        linear = isinstance(owner, torch.nn.Linear) or is_transposed(owner)
        if linear and name.endswith(".bias"):
            changes[name] = "bias"
            tensors[f"{prefix}{name}"] = difference.contiguous()
            continue
        if not linear or difference.ndim != 2:
            return {}, f"changes {name}, which is no linear map"
        if is_transposed(owner):
            difference = difference.T
        # A change is read off the rounded sum of weight and change: what is smaller than that rounding is noise.
        noise = torch.finfo(torch.float32).eps * float(original[name].float().norm())
        left, singular, right = torch.svd_lowrank(difference, q=min(RANK, *difference.shape), niter=4)
        rank = max(1, int((singular > max(float(singular[0]) * 1e-6, noise)).sum()))
        left, right = left[:, :rank] * singular[:rank], right[:, :rank]
        missed = float((difference - left @ right.T).norm())
        if missed <= EXACT * float(difference.norm()) + noise and 2 * rank <= min(difference.shape):
            changes[name] = "low_rank"
            tensors[f"{prefix}{name}.left"] = left.contiguous()
            tensors[f"{prefix}{name}.right"] = right.contiguous()
        else:
            changes[name] = "dense"
            tensors[f"{prefix}{name}.dense"] = difference.contiguous()
    return changes, "" if changes else "changes no weight"


def restore(model: Any, original: dict) -> None:
    import torch

    with torch.no_grad():
        for name, value in model.named_parameters():
            if name in original:
                value.copy_(original[name])
                value.grad = None
                value.requires_grad_(True)
    model.eval()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
